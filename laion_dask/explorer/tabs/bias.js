export function render({ model }) {
  const sentence = element("p", { class: "sentence", role: "status" })
  const waiting = element("p", { class: "muted" })
  const place = ratesPlace()
  follow(model, (state) => {
    setText(sentence, state.sentence)
    setText(waiting, state.waiting)
    waiting.hidden = !state.waiting
    place.write(state.sections, state.names)
  })
  return element("div", { class: "tab", tabindex: "0", "aria-label": "Bias" }, sentence, waiting, place.node)
}
