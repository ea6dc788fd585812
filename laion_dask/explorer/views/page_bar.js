// The bar above the gallery and the table: pages, order, hidden rows. Text from the data is set with
// textContent only.

const button = (text, label, onclick) =>
  element("button", { type: "button", text, "aria-label": label || null, onclick })

function labelled(text, control) {
  const label = make("label", "ld-field", text)
  label.append(control)
  return label
}

function pageTurner(send, what) {
  let page = 1, pages = 1
  const go = (wanted) => send({ kind: "page", page: wanted })
  const previous = button("‹", `Previous page of the ${what}`, () => go(page - 1))
  const next = button("›", `Next page of the ${what}`, () => go(page + 1))
  const number = make("input")
  number.inputMode = "numeric"
  number.size = 5
  number.setAttribute("aria-label", `Page of the ${what}`)
  number.onchange = () => {
    const wanted = Number.parseInt(number.value.replace(/[^0-9]/g, ""), 10)
    if (Number.isFinite(wanted)) go(Math.min(Math.max(wanted, 1), pages))
    number.value = count(page)
  }
  const of = make("span", "muted")
  const node = make("span", "ld-pages")
  node.append(previous, number, of, next)
  function update(state) {
    ({ page, pages } = state)
    number.value = count(page)
    of.textContent = `of ${count(pages)}`
    previous.disabled = page <= 1
    next.disabled = page >= pages
  }
  return { node, update, turn: (by) => { if (page + by >= 1 && page + by <= pages) go(page + by) } }
}

// How many rows are hidden, and a button that shows or hides them.
function hiddenRows(send) {
  let isShown = false
  const node = make("span", "ld-hidden")
  const text = make("span")
  const show = button("", "", () => send({ kind: "hidden", shown: !isShown }))
  node.append(text, show)
  function update({ hidden, hidden_as, shows_hidden, shown_as }) {
    isShown = shows_hidden
    node.hidden = !hidden
    text.textContent = shows_hidden
      ? `${count(hidden)} ${hidden_as}, ${shown_as} · `
      : `${count(hidden)} hidden: ${hidden_as} · `
    show.textContent = shows_hidden ? "hide" : `show ${shown_as === "shown" ? "them" : shown_as}`
  }
  return { node, update, focus: () => show.focus() }
}

function orderChooser(send, what) {
  let isDescending = false
  const sort = make("select")
  sort.setAttribute("aria-label", `Order of the ${what}`)
  sort.onchange = () => send({ kind: "sort", by: sort.value === "" ? null : sort.value })
  const direction = button("", "", () => send({ kind: "direction", descending: !isDescending }))
  function update({ orders, order_by, default_order, descending }) {
    isDescending = descending
    const options = orders.map(name => [name, `order: ${name}`])
    setOptions(sort, [["", `order: ${default_order}`], ...options], order_by ?? "")
    direction.textContent = descending ? "↓" : "↑"
    direction.hidden = order_by === null
    direction.setAttribute("aria-label", descending
      ? "Descending order; change to ascending" : "Ascending order; change to descending")
  }
  return { nodes: [sort, direction], update }
}

function sizeChooser(send, what) {
  const size = make("select")
  size.setAttribute("aria-label", `Rows of a page of the ${what}`)
  size.onchange = () => send({ kind: "size", size: Number(size.value) })
  const node = labelled("rows", size)
  function update(state) {
    node.hidden = !state.sizes.length
    setOptions(size, state.sizes.map(rows => [rows, count(rows)]), state.size)
  }
  return { node, update }
}

// Below a button, as high as there is room in its tab, and inside the bar.
function placeBelow(list, opener) {
  const bar = opener.offsetParent, at = opener.getBoundingClientRect(), around = bar.getBoundingClientRect()
  let tab = bar
  while (tab && !tab.classList?.contains("panel")) tab = tab.parentElement ?? tab.getRootNode().host
  const room = (tab?.getBoundingClientRect().bottom ?? window.innerHeight) - at.bottom
  list.style.maxHeight = `${Math.max(100, Math.min(400, room - 8))}px`
  list.style.top = `${at.bottom - around.top + 4}px`
  list.style.left = `${Math.max(0, Math.min(at.left - around.left, around.width - list.offsetWidth))}px`
}

// Boxes for the columns that a table shows; the last one that is checked stays so.
function columnChooser(send) {
  const node = make("details", "ld-columns")
  const list = make("div", "ld-columns-list")
  const opener = make("summary", "", "Columns")
  node.append(opener, list)
  node.addEventListener("toggle", () => { if (node.open) placeBelow(list, opener) })
  node.addEventListener("keydown", event => {
    if (event.key === "Escape" && node.open) {
      node.open = false
      node.firstChild.focus()
    }
  })
  const boxes = () => [...list.querySelectorAll("input")]
  function columnBox(name) {
    const box = make("input")
    box.type = "checkbox"
    box.onchange = () => {
      const checked = boxes().flatMap((each, at) => each.checked ? [at] : [])
      if (checked.length) send({ kind: "columns", columns: checked })
      else box.checked = true
    }
    const label = make("label")
    label.append(box, make("bdi", "", name))
    return label
  }
  function update({ columns, chosen }) {
    node.hidden = !columns.length
    if (!columns.length) return
    const wanted = JSON.stringify(columns)
    if (list.dataset.names !== wanted) {
      list.dataset.names = wanted
      list.replaceChildren(...columns.map(columnBox))
    }
    boxes().forEach((box, at) => { box.checked = chosen.includes(at) })
  }
  return { node, update }
}

// The bar; `send` sends a message to the server. Returns its element, the element shown in place of a
// page without rows, a function that updates both, and one that turns pages.
function pageBar(send, what) {
  const root = make("div", "ld-bar")
  root.setAttribute("role", "toolbar")
  root.setAttribute("aria-label", `Pages of the ${what}`)
  const rows = make("span", "ld-rows")
  rows.setAttribute("role", "status")
  const [pages, hidden, order] = [pageTurner(send, what), hiddenRows(send), orderChooser(send, what)]
  const [size, columns, empty] = [sizeChooser(send, what), columnChooser(send), emptyPage(send)]
  root.append(pages.node, rows, hidden.node, make("span", "ld-space"), ...order.nodes, size.node,
    columns.node)
  function update(state) {
    for (const part of [pages, hidden, order, size, columns]) part.update(state)
    setText(rows, state.is_ordering ? "ordering…" : state.n === 1 ? "1 row" : `${count(state.n)} rows`)
    if (empty.update(state.empty)) hidden.focus()
  }
  return { element: root, empty: empty.element, update, go: pages.turn }
}
