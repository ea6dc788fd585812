// The bar above the table, which is Panel's Tabulator.

export function render({ model }) {
  const bar = pageBar(message => model.send_msg(message), "table")
  const root = element("div", { class: "table-component" }, bar.element)
  model.on("msg:custom", text => bar.update(JSON.parse(text)))
  model.send_msg({ kind: "ready" })
  return root
}
