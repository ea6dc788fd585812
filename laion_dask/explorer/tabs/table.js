// A table of text with a caption; its first column names the rows.

function rowsTable(state) {
  if (!state) return element("p", { class: "muted", hidden: true })
  return element("table", {}, element("caption", {}, element("span", { class: "title", text: state.title }),
      element("span", { class: "muted", text: state.note })),
    element("thead", {}, element("tr", {}, ...state.head.map((text) => element("th", { scope: "col", text })))),
    element("tbody", {}, ...state.rows.map((row) => element("tr", {},
      ...row.map((text, at) => element(at ? "td" : "th", at ? { text, class: "number" } : { text, scope: "row", title: text }))))))
}
