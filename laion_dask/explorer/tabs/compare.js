// Two sets of rows side by side, or two data sets.

// The fields that name another data set, and how it differs.
function otherPart(send) {
  const path = element("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "folder of another data set" })
  const by = element("input", { type: "text", value: "url", autocomplete: "off" })
  const compare = element("button", { text: "Compare the data sets", onclick: () => send({ kind: "diff", path: path.value, by: by.value }) })
  const result = element("p", { class: "sentence", role: "status" })
  const tables = element("div", { class: "block" })
  const node = element("div", { class: "block" },
    element("h2", { text: "With another data set" }),
    element("div", { class: "line" },
      element("label", {}, element("span", { text: "Its folder" }), path),
      element("label", {}, element("span", { text: "A row is identified by" }), by), compare),
    element("p", { class: "muted", text: "Reads all rows of both, not only the sample, and counts those that only one of them has, and values that differ." }),
    result, tables)
  let shown = null
  function update(state) {
    setText(result, state.diff ? state.diff.sentence : "")
    result.hidden = tables.hidden = !state.diff
    const written = JSON.stringify(state.diff)
    if (written !== shown) tables.replaceChildren(...(state.diff ? state.diff.tables.map(rowsTable) : []))
    shown = written
    compare.disabled = state.is_comparing
  }
  return { node, update }
}

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const choice = (label, kind) => {
    const select = element("select", { onchange: () => send({ kind, value: select.value }) })
    return [element("label", {}, element("span", { text: label }), select), select]
  }
  const [firstLabel, first] = choice("First", "first")
  const [secondLabel, second] = choice("Second", "second")
  const name = element("input", { type: "text", maxlength: "100", value: "A" })
  const keep = element("button", { text: "Remember the selection", onclick: () => send({ kind: "keep", name: name.value }) })
  const sentence = element("p", { class: "sentence", role: "status" })
  const note = element("p", { class: "note failed", role: "alert" })
  const place = ratesPlace()
  const other = otherPart(send)

  follow(model, (state) => {
    setOptions(first, state.choices, state.first)
    setOptions(second, state.choices, state.second)
    setText(sentence, state.sentence)
    setText(note, state.note)
    note.hidden = !state.note
    place.write(state.sections, state.names)
    other.update(state)
  })
  return element("div", { class: "tab", tabindex: "0", "aria-label": "Compare" },
    element("div", { class: "line" }, firstLabel, secondLabel,
      element("label", {}, element("span", { text: "Name" }), name), keep),
    note, sentence, place.node, other.node)
}
