// In place of the question: that there are no embeddings, and code that passes them.

export function render({ model }) {
  return element("p", { class: "no-ask muted" }, model.why, " ", element("code", { text: model.code }))
}
