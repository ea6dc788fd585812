// Count the selected rows of the whole data set, see whom the filters exclude, and write them.

// The fields that name a new folder, and what became of the rows.
function writePart(send) {
  const folder = element("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "folder" })
  const format = element("select")
  const leaveOut = element("input", { type: "checkbox" })
  const start = () => send({ kind: "write", folder: folder.value, format: format.value, leave_out: leaveOut.checked })
  const button = element("button", { text: "Write", onclick: start })
  folder.addEventListener("keydown", (event) => { if (event.key === "Enter" && !button.disabled) start() })
  const unsafe = element("p", { role: "status" })
  const choice = element("label", {}, leaveOut, element("span", { text: "Leave out rows that are unsafe or have no safety score" }))
  const whole = wholePath(folder)
  const note = element("p", { class: "note", role: "status" })
  const result = element("pre", { role: "status" })
  const node = element("div", { class: "block" }, element("h2", { text: "Write the rows" }),
    unsafe, element("div", { class: "line" }, choice),
    element("div", { class: "line" },
      element("label", {}, element("span", { text: "New folder" }), folder),
      element("label", {}, element("span", { text: "Format" }), format), button),
    whole, note, result)
  let last = null
  function update(state) {
    button.disabled = state.is_running
    if (!format.options.length) {
      format.append(...state.formats.map((name) => element("option", { text: name, value: name })))
      format.value = "parquet"
    }
    setText(unsafe, state.unsafe)
    choice.hidden = !state.can_leave_out
    setText(note, state.note)
    note.classList.toggle("failed", state.is_error)
    setText(result, state.result)
    result.hidden = !state.result
    whole.write(state.here)
    const said = `${state.note}\n${state.result}`
    if (said !== last && last !== null) requestAnimationFrame(() => showIn(node.parentElement, state.result ? result : note))
    last = said
  }
  return { node, update }
}

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const sentence = element("p", { class: "sentence" })
  const run = (kind, text) => element("button", { text, onclick: () => send({ kind }) })
  const counting = run("count", "Count all rows"), auditing = run("audit", "See whom it excludes")
  const stale = element("span", { class: "muted" })
  const facts = element("pre", { role: "status" })
  const funnel = element("div"), audit = element("div")
  const writing = writePart(send)
  follow(model, (state) => {
    setText(sentence, state.sentence)
    for (const button of [counting, auditing]) button.disabled = state.is_running
    setText(facts, state.facts)
    facts.hidden = !state.facts
    setText(stale, state.stale)
    funnel.replaceChildren(rowsTable(state.funnel))
    audit.replaceChildren(rowsTable(state.audit))
    writing.update(state)
  })
  return element("div", { class: "tab", tabindex: "0", "aria-label": "Export" }, sentence,
    element("div", { class: "line" }, counting, auditing, stale), facts, funnel, audit, writing.node)
}
