// The most frequent values of each category; a click selects one or several.

// An item of a list of values; `choose` takes its place in the list.
function valueItem(list, choose) {
  const button = element("button", { class: "value" },
    element("span", { class: "bar all" }), element("span", { class: "bar chosen" }),
    element("span", { class: "text" }), element("span", { class: "n" }))
  const item = element("li", {}, button)
  const place = () => [...list.children].indexOf(item)
  button.addEventListener("click", () => choose(place()))
  button.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    list.children[place() + step]?.firstElementChild.focus()
    event.preventDefault()
  })
  return item
}

function writeValue(row, item, top) {
  const button = row.firstElementChild
  const [all, chosen, text, n] = button.children
  button.setAttribute("aria-pressed", String(item.selected))
  button.title = item.label
  all.style.width = "100%"
  chosen.style.width = `${100 * item.n / top}%`
  setText(text, item.label)
  setText(n, compact(item.n))
}

// A field for the name of a value. A name that is not found stays in the field, with a note, until it is
// edited. A note from another page, or from before the page was loaded again, is not shown.
function nameField({ label, values }, at, add) {
  const search = element("input", {
    type: "text", autocomplete: "off", spellcheck: "false", list: `values-${at}`, maxlength: 200,
    "aria-label": `Select a value of ${label} by its name`, placeholder: "by name…",
  })
  const known = element("datalist", { id: `values-${at}` },
    ...values.map((value) => element("option", { value })))
  const note = element("p", { class: "note", role: "status", hidden: true })
  let state = {}, sent = ""
  function show() {
    note.hidden = !state.note || Boolean(state.refused && state.refused !== sent)
    setText(note, note.hidden ? "" : state.note)
    search.setAttribute("aria-invalid", String(!note.hidden))
  }
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !search.value.trim()) return
    sent = search.value
    add(sent)
    show()
  })
  search.addEventListener("input", () => { sent = ""; show() })
  function write(next) {
    state = next
    show()
    if (sent && !state.note && search.value === sent) search.value = sent = ""
  }
  return { search, known, note, write }
}

function group(category, at, send) {
  const list = element("ul", { class: "values" })
  const rest = element("p", { class: "muted rest" })
  let items = []
  const make = () => valueItem(list,
    (place) => send({ kind: "toggle", column: at, code: items[place].code }))
  const clear = element("button", {
    class: "clear", text: "×", "aria-label": `Remove the selection of ${category.label}`,
    onclick: () => send({ kind: "clear", column: at }),
  })
  const name = nameField(category, at, (label) => send({ kind: "add", column: at, label }))
  const title = element("h3", { text: category.label, title: category.label })
  const node = element("section", { class: "group", "aria-label": category.label },
    element("div", { class: "title" }, title, name.search, name.known, clear), name.note, list, rest)
  return {
    node,
    write(state) {
      items = state.items
      const top = Math.max(1, ...items.map((item) => item.n))
      fill(list, items, make, (row, item) => writeValue(row, item, top))
      const others = state.others === 1 ? "1 other" : `${compact(state.others)} others`
      const none = items.length ? "" : "No selected row has a value."
      setText(rest, state.others ? `${others}: ${compact(state.other_rows)}` : none)
      clear.disabled = !state.is_active
      name.write(state)
      node.classList.toggle("active", state.is_active)
    },
  }
}

export function render({ model }) {
  const categories = JSON.parse(model.columns)
  const send = (message) => model.send_msg(message)
  const groups = categories.map((category, at) => group(category, at, send))
  follow(model, (state) => groups.forEach((one, at) => one.write(state.columns[at])))
  const nothing = element("p", { class: "muted", text: "There is no column of categories." })
  return element("div", { class: "bars" },
    element("div", { class: "heading" },
      element("h2", { text: "Values" }), element("span", { class: "muted", text: "click to select" })),
    categories.length ? element("div", { class: "groups" }, ...groups.map((one) => one.node)) : nothing)
}
