// Name the rows that were ticked, keep them in sets, use a set as a filter, write it to a file.

function field(label, attributes, onenter) {
  const input = element("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes })
  if (onenter) input.addEventListener("keydown", (event) => { if (event.key === "Enter") onenter() })
  return [element("label", {}, element("span", { text: label }), input), input]
}

// A set in the list; `nameOf` takes the item.
function setItem(send, nameOf) {
  const label = element("span", { class: "name" })
  const count = element("span", { class: "muted" })
  const act = (kind) => () => send({ kind, name: nameOf(item) })
  const show = element("button", { onclick: act("show") })
  const save = () => send({ kind: "save", name: nameOf(item), path: file.value })
  const [fileLabel, file] = field("file", {}, save)
  const write = element("button", { text: "Save", onclick: save })
  const remove = element("button", { text: "Remove", onclick: act("remove") })
  const item = element("li", { class: "set" }, label, count, element("span", { class: "gap" }), show, fileLabel, write, remove)
  item.write = (set, here) => {
    setText(label, set.label)
    label.title = set.label
    setText(count, set.count)
    setText(show, "Use as filter")
    show.setAttribute("aria-pressed", String(set.is_shown))
    show.setAttribute("aria-label", `Use as filter: select only the rows of ${set.label}`)
    write.setAttribute("aria-label", `Save ${set.label} to the file`)
    remove.setAttribute("aria-label", `Remove ${set.label}`)
    file.setAttribute("aria-label", `File of ${set.label}`)
    if (item.path !== set.path) file.value = item.path = set.path
    file.title = `Relative to ${here}`
  }
  return item
}

export function render({ model }) {
  const send = (message) => model.send_msg(message)
  const ticked = element("p", { role: "status" })
  const add = (what) => send({ kind: "add", what, name: name.value })
  const [nameLabel, name] = field("Name of the set", { maxlength: "200", value: "A" }, () => add("ticked"))
  const addTicked = element("button", { text: "Add the ticked rows", onclick: () => add("ticked") })
  const addSelected = element("button", { onclick: () => add("selected") })
  const note = element("p", { class: "note", role: "status" })
  const list = element("ul", { class: "sets", "aria-label": "Sets of rows" })
  const none = element("p", { class: "muted", text: "No set yet. Tick rows in the table or tiles in the gallery, and add them here." })
  const open = () => { if (path.value) send({ kind: "open", path: path.value }) }
  const [pathLabel, path] = field("Open the file of a set", { placeholder: "tags.json" }, open)
  let sets = []

  const make = () => setItem(send, (item) => sets[[...list.children].indexOf(item)].name)
  follow(model, (state) => {
    setText(ticked, state.ticked)
    addTicked.disabled = !state.n_ticked
    setText(addSelected, `Add the selected rows of the sample (${count(state.n_selected)})`)
    addSelected.disabled = !state.n_selected || state.is_too_many
    path.title = `Relative to ${state.here}`
    setText(note, state.note)
    note.classList.toggle("failed", state.is_error)
    sets = state.sets
    fill(list, sets, make, (item, set) => item.write(set, state.here))
    none.hidden = sets.length > 0
  })
  return element("div", { class: "tab" }, ticked,
    element("div", { class: "line" }, nameLabel, addTicked, addSelected), note,
    element("h2", { text: "Sets" }), none, list,
    element("div", { class: "block" },
      element("div", { class: "line" }, pathLabel, element("button", { text: "Open", onclick: open }))),
    element("p", { class: "muted", text: "A file names rows by shard and row number, and has no captions or URLs. It works for the whole data set, also after it was moved or extended. A recipe copied after Save names it." }))
}
