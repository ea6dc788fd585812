// Count the selected rows of the whole data set, see whom the filters exclude, and write them.

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const sentence = element("p", { class: "sentence" })
  const run = (kind, text) => element("button", { text, onclick: () => send({ kind }) })
  const counting = run("count", "Count all rows"), auditing = run("audit", "See whom it excludes")
  const stale = element("span", { class: "muted" })
  const facts = element("pre", { role: "status" })
  const funnel = element("div"), audit = element("div")
  const folder = element("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "folder" })
  const format = element("select")
  const write = element("button", { text: "Write", onclick: () => send({ kind: "write", folder: folder.value, format: format.value, leave_out: leaveOut.checked }) })
  const unsafe = element("p", { role: "status" })
  const leaveOut = element("input", { type: "checkbox" })
  const leaveOutLabel = element("label", {}, leaveOut, element("span", { text: "Leave out rows that are unsafe or have no safety score" }))
  const whole = wholePath(folder)
  const note = element("p", { class: "note", role: "status" })
  const result = element("pre", { role: "status" })
  folder.addEventListener("keydown", (event) => { if (event.key === "Enter" && !write.disabled) write.click() })
  const tab = element("div", { class: "tab", tabindex: "0", "aria-label": "Export" }, sentence,
    element("div", { class: "line" }, counting, auditing, stale), facts, funnel, audit,
    element("div", { class: "block" }, element("h2", { text: "Write the rows" }),
      unsafe, element("div", { class: "line" }, leaveOutLabel),
      element("div", { class: "line" },
        element("label", {}, element("span", { text: "New folder" }), folder),
        element("label", {}, element("span", { text: "Format" }), format), write),
      whole, note, result))
  let last = null
  follow(model, (state) => {
    setText(sentence, state.sentence)
    for (const button of [counting, auditing, write]) button.disabled = state.is_running
    setText(facts, state.facts)
    facts.hidden = !state.facts
    setText(stale, state.stale)
    funnel.replaceChildren(rowsTable(state.funnel))
    audit.replaceChildren(rowsTable(state.audit))
    if (!format.options.length) {
      format.append(...state.formats.map((name) => element("option", { text: name, value: name })))
      format.value = "parquet"
    }
    setText(unsafe, state.unsafe)
    leaveOutLabel.hidden = !state.can_leave_out
    setText(note, state.note)
    note.classList.toggle("failed", state.is_error)
    setText(result, state.result)
    result.hidden = !state.result
    whole.write(state.here)
    const said = `${state.note}\n${state.result}`
    if (said !== last && last !== null) requestAnimationFrame(() => showIn(tab, state.result ? result : note))
    last = said
  })
  return tab
}
