// In place of the question: that there are no embeddings, and code that passes them.

export function render({ model }) {
  const why = element("span", { role: "note" }), code = element("code")
  follow(model, (state) => {
    setText(why, state.why)
    setText(code, state.code)
  })
  return element("div", { class: "no-ask muted" }, why, " ", code)
}
