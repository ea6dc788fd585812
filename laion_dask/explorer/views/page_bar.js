// The bar above the gallery and the table: pages, order, hidden rows. Text from the data is set with
// textContent only.

function make(tag, className, text) {
  const made = element(tag, text === undefined ? {} : { text })
  if (className) made.className = className
  return made
}

const button = (text, label, onclick) =>
  element("button", { type: "button", text, "aria-label": label || null, onclick })

function labelled(text, control) {
  const label = make("label", "ld-field", text)
  label.append(control)
  return label
}

function setOptions(select, values, chosen, text) {
  const wanted = JSON.stringify(values.map(value => [value, text(value)]))
  if (select.dataset.values !== wanted) {
    select.dataset.values = wanted
    select.replaceChildren(...values.map(value => {
      const option = make("option", "", text(value))
      option.value = String(value)
      return option
    }))
  }
  select.value = String(chosen)
}

// Builds the bar; `send` takes a message for the server. Returns its element, the element of what is
// shown in place of a page whose rows are all hidden, and a function that shows a state of both.
function pageBar(send, what) {
  const root = make("div", "ld-bar")
  root.setAttribute("role", "toolbar")
  root.setAttribute("aria-label", `Pages of the ${what}`)
  let state = { page: 1, pages: 1 }

  const go = page => send({ kind: "page", page })
  const previous = button("‹", `Previous page of the ${what}`, () => go(state.page - 1))
  const next = button("›", `Next page of the ${what}`, () => go(state.page + 1))
  const number = make("input")
  number.inputMode = "numeric"
  number.size = 5
  number.setAttribute("aria-label", `Page of the ${what}`)
  number.onchange = () => {
    const page = Number.parseInt(number.value.replace(/[^0-9]/g, ""), 10)
    if (Number.isFinite(page)) go(Math.min(Math.max(page, 1), state.pages))
    number.value = count(state.page)
  }
  const of = make("span", "muted")
  const pages = make("span", "ld-pages")
  pages.append(previous, number, of, next)

  const rows = make("span", "ld-rows")
  rows.setAttribute("role", "status")
  const hidden = make("span", "ld-hidden")
  const hiddenText = make("span")
  const show = button("", "", () => send({ kind: "hidden", shown: !state.shows_hidden }))
  hidden.append(hiddenText, show)

  const sort = make("select")
  sort.setAttribute("aria-label", `Order of the ${what}`)
  sort.onchange = () => send({ kind: "sort", by: sort.value === "" ? null : sort.value })
  const direction = button("", "", () => send({ kind: "direction", descending: !state.descending }))
  const size = make("select")
  size.setAttribute("aria-label", `Rows of a page of the ${what}`)
  size.onchange = () => send({ kind: "size", size: Number(size.value) })
  const sizeField = labelled("rows", size)

  const chooser = make("details", "ld-columns")
  const list = make("div", "ld-columns-list")
  chooser.append(make("summary", "", "Columns"), list)
  chooser.addEventListener("keydown", event => {
    if (event.key === "Escape" && chooser.open) {
      chooser.open = false
      chooser.firstChild.focus()
    }
  })

  const empty = emptyPage(send)

  root.append(pages, rows, hidden, make("span", "ld-space"), sort, direction,
    sizeField, chooser)

  function columns(names, chosen) {
    const wanted = JSON.stringify(names)
    if (list.dataset.names !== wanted) {
      list.dataset.names = wanted
      list.replaceChildren(...names.map((name, at) => {
        const box = make("input")
        box.type = "checkbox"
        box.onchange = () => {
          const boxes = [...list.querySelectorAll("input")]
          const numbers = boxes.flatMap((each, n) => each.checked ? [n] : [])
          if (numbers.length) send({ kind: "columns", columns: numbers })
          else boxes[at].checked = true
        }
        const label = make("label")
        const text = make("bdi", "", name)
        label.append(box, text)
        return label
      }))
    }
    list.querySelectorAll("input").forEach((box, at) => { box.checked = chosen.includes(at) })
  }

  function update(latest) {
    state = latest
    number.value = count(state.page)
    of.textContent = `of ${count(state.pages)}`
    previous.disabled = state.page <= 1
    next.disabled = state.page >= state.pages
    setText(rows, state.is_ordering ? "ordering…" : state.n === 1 ? "1 row" : `${count(state.n)} rows`)
    hidden.hidden = !state.hidden
    hiddenText.textContent = state.shows_hidden
      ? `${count(state.hidden)} unsafe or unscored, ${state.shown_as} · `
      : `${count(state.hidden)} hidden: unsafe or unscored · `
    show.textContent = state.shows_hidden ? "hide" : `show ${state.shown_as === "shown" ? "them" : state.shown_as}`
    setOptions(sort, ["", ...state.orders], state.order_by ?? "",
      value => `order: ${value === "" ? state.default_order : value}`)
    direction.textContent = state.descending ? "↓" : "↑"
    direction.hidden = state.order_by === null
    direction.setAttribute("aria-label", state.descending
      ? "Descending order; change to ascending" : "Ascending order; change to descending")
    sizeField.hidden = !state.sizes.length
    if (state.sizes.length) setOptions(size, state.sizes, state.size, count)
    chooser.hidden = !state.columns.length
    if (state.columns.length) columns(state.columns, state.chosen)
    if (empty.update(state.empty)) show.focus()
  }

  return { element: root, empty: empty.element, update, go: by => {
    const page = state.page + by
    if (page >= 1 && page <= state.pages) go(page)
  } }
}
