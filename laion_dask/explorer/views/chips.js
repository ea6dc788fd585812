// One chip for each filter; a click, Delete or Backspace removes it. A field for a condition.

// A field for a condition. An invalid one stays in the field, with its error, until it is edited. An
// error from another page, or from before the page was loaded again, is not shown.
function conditionField(send) {
  const field = element("input", { type: "text", class: "condition", spellcheck: "false",
    "aria-label": "Condition", placeholder: "a condition, such as text.contains('bird')" })
  const wrong = element("span", { class: "wrong", role: "alert" })
  let sent = "", state = {}
  function showError() {
    const isWrong = Boolean(state.error) && state.refused === sent
    setText(wrong, isWrong ? state.error : "")
    field.setAttribute("aria-invalid", String(isWrong))
  }
  field.addEventListener("keydown", (event) => {
    event.stopPropagation()                               // Lab has shortcuts of its own
    if (event.key !== "Enter" || !field.value.trim()) return
    sent = field.value
    send(sent)
    showError()
  })
  field.addEventListener("input", () => { sent = ""; showError() })
  function write(next) {
    state = next
    showError()
    if (!state.error && sent && field.value === sent) field.value = sent = ""
  }
  return { nodes: [field, wrong], write }
}

export function render({ model }) {
  const list = element("ul", { class: "chips", "aria-label": "Filters" })
  const none = element("span", { class: "muted", text: "No filter: every row is selected." })
  const clear = element("button", { text: "Clear all", onclick: () => model.send_msg({ kind: "clear" }) })
  const remove = (at) => model.send_msg({ kind: "remove", key: shown[at].key })
  const condition = conditionField((text) => model.send_msg({ kind: "condition", text }))
  let shown = [], focused = -1

  function make() {
    const chip = element("button", { class: "chip" },
      element("span", { class: "text" }), element("span", { text: "×", "aria-hidden": "true" }))
    const item = element("li", {}, chip)
    const at = () => [...list.children].indexOf(item)
    chip.addEventListener("click", () => { focused = at(); remove(at()) })
    chip.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
      if (step) list.children[at() + step]?.firstElementChild.focus()
      else if (event.key === "Delete" || event.key === "Backspace") { focused = at(); remove(at()) }
      else return
      event.preventDefault()
    })
    return item
  }

  follow(model, (state) => {
    shown = state.chips
    fill(list, shown, make, (item, chip) => {
      const button = item.firstElementChild
      setText(button.firstElementChild, chip.label)
      button.setAttribute("aria-label", `Remove filter: ${chip.label}`)
      button.title = chip.label
    })
    condition.write(state)
    none.hidden = shown.length > 0
    clear.hidden = shown.length < 2
    if (focused >= 0) list.children[Math.min(focused, shown.length - 1)]?.firstElementChild.focus()
    focused = -1
  })
  return element("div", { class: "line" }, none, list, clear, ...condition.nodes)
}
