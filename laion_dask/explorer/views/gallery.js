// The gallery in the browser: tiles with pictures that the server has made, or cards of text. A
// picture comes as a message and is never part of the model, so that no notebook has it. Text from
// the data is set with textContent only.

export function render({ model, el }) {
  const send = message => model.send_msg(message)
  const root = make("div", "gallery-component")
  const bar = pageBar(send, "gallery")
  const note = make("div", "ld-note muted")
  note.setAttribute("role", "status")
  const grid = make("div", "ld-grid")
  grid.setAttribute("role", "grid")
  grid.setAttribute("aria-label", "Rows of the selection")
  grid.setAttribute("aria-multiselectable", "true")
  const help = make("p", "ld-help muted",
    "Arrows move, Space ticks, Enter shows or blurs a picture, M looks for more like it, Page Up " +
    "and Page Down turn the page.")
  root.append(bar.element, note, bar.empty, grid, help)

  let tiles = new Map()      // by position in the sample, in the order of the page
  let order = []
  let current = null         // the position of the tile that Tab reaches
  let hasPictures = false

  function tile(row) {
    const cell = make("div", "ld-tile")
    cell.setAttribute("role", "gridcell")
    cell.tabIndex = -1
    const picture = make("div", "ld-picture")
    const image = make("img")
    image.alt = ""
    image.draggable = false
    image.hidden = true
    const reason = make("span", "ld-reason")
    const veil = make("span", "ld-veil", "show")
    picture.append(image, reason, veil)
    const caption = make("bdi", "ld-caption")
    caption.dir = "auto"
    const facts = make("div", "ld-facts")
    const tick = make("input", "ld-tick")
    tick.type = "checkbox"
    tick.tabIndex = -1
    const more = button("more like this", "", () => send({ kind: "more", id: row.id }))
    more.className = "ld-more"
    more.tabIndex = -1
    cell.append(picture, tick, caption, facts)
    const line = make("div", "ld-line")
    line.setAttribute("role", "row")
    line.append(cell)
    const it = { id: row.id, line, cell, picture, image, reason, veil, caption, facts, tick, more,
      blurred: false, has: false, row: null }
    tick.onchange = () => send({ kind: "tick", id: it.id, ticked: tick.checked })
    picture.onclick = () => reveal(it)
    cell.addEventListener("focusin", () => choose(it.id, false))
    cell.addEventListener("pointerdown", event => {
      if (event.target !== tick && event.target !== more) choose(it.id, true)
    })
    image.onerror = () => { image.removeAttribute("src"); image.hidden = true }
    return it
  }

  function text(it, row) {
    it.row = row
    it.caption.textContent = row.caption ?? "no caption"
    it.caption.classList.toggle("ld-none", row.caption === null)
    it.facts.replaceChildren(...row.facts.map(([name, value]) => {
      const fact = make("span", "ld-fact")
      if (name) fact.append(make("span", "muted", `${name} `))
      fact.append(make("bdi", "", value))
      return fact
    }), it.more)
    it.tick.checked = row.ticked
    it.tick.setAttribute("aria-label", "Tick this row")
    it.more.hidden = !row.has_more
    it.picture.hidden = !hasPictures
    it.cell.classList.toggle("ld-card", !hasPictures)
    describe(it)
  }

  function describe(it) {
    const row = it.row
    it.cell.setAttribute("aria-selected", String(it.tick.checked))
    it.cell.classList.toggle("ld-ticked", it.tick.checked)
    it.image.alt = it.blurred ? "Blurred picture; Enter shows it" : `Picture: ${row.caption ?? "no caption"}`
    it.veil.hidden = !(it.has && it.blurred)
    it.veil.textContent = `show · ${row.doubt}`
    it.picture.classList.toggle("ld-can-reveal", it.has && Boolean(row.doubt))
    it.picture.title = it.has && row.doubt ? (it.blurred ? "Show this picture" : "Blur this picture") : ""
  }

  function drop(it) {
    it.image.removeAttribute("src")
    it.image.hidden = true
    it.has = it.blurred = false
    it.reason.textContent = ""
  }

  function draw(it, picture) {
    drop(it)
    if (picture.jpeg) {
      it.image.src = `data:image/jpeg;base64,${picture.jpeg}`
      it.image.hidden = false
      it.has = true
      it.blurred = picture.blurred
    } else it.reason.textContent = picture.reason
    describe(it)
  }

  function reveal(it) {
    if (it.has && it.row.doubt) send({ kind: "reveal", id: it.id, shown: it.blurred })
  }

  function choose(id, focus) {
    for (const [other, it] of tiles) it.cell.tabIndex = other === id ? 0 : -1
    current = id
    if (focus) tiles.get(id)?.cell.focus()
  }

  function page(message) {
    const hadFocus = grid.contains(el.getRootNode().activeElement)
    const before = tiles
    hasPictures = message.has_pictures
    tiles = new Map()
    order = message.tiles.map(row => row.id)
    for (const row of message.tiles) {
      const it = before.get(row.id) ?? tile(row)
      tiles.set(row.id, it)
      if (!row.keeps) drop(it)
      text(it, row)
      it.line.setAttribute("aria-rowindex", String(row.number))
    }
    for (const [id, it] of before) if (!tiles.has(id)) drop(it)
    grid.setAttribute("aria-rowcount", String(message.bar.n))
    grid.replaceChildren(...[...tiles.values()].map(it => it.line))
    grid.scrollTop = 0
    bar.update(message.bar)
    note.textContent = message.note
    note.hidden = !message.note
    grid.hidden = !order.length
    if (!tiles.has(current)) current = order[0] ?? null
    if (current !== null) choose(current, hadFocus)
  }

  function columns() {
    const top = tiles.get(order[0]).cell.offsetTop
    const next = order.findIndex(id => tiles.get(id).cell.offsetTop !== top)
    return next < 0 ? order.length : next
  }

  grid.addEventListener("keydown", event => {
    if (event.target.className === "ld-more" || event.altKey || event.ctrlKey || event.metaKey) return
    const at = order.indexOf(current)
    if (at < 0) return
    const it = tiles.get(current)
    const rtl = getComputedStyle(grid).direction === "rtl" ? -1 : 1
    const steps = { ArrowRight: rtl, ArrowLeft: -rtl, ArrowDown: columns(), ArrowUp: -columns(),
      Home: -at, End: order.length - 1 - at }
    if (event.key in steps) {
      const to = at + steps[event.key]
      if (to >= 0 && to < order.length) choose(order[to], true)
    } else if (event.key === " ") {
      it.tick.checked = !it.tick.checked
      it.tick.onchange()
      describe(it)
    } else if (event.key === "Enter") reveal(it)
    else if (event.key === "PageDown") bar.go(1)
    else if (event.key === "PageUp") bar.go(-1)
    else if (event.key.toLowerCase() === "m" && it.row.has_more) it.more.onclick()
    else return
    event.preventDefault()
    event.stopPropagation()
  })

  model.on("msg:custom", text => {
    const data = JSON.parse(text)
    if (data.kind === "page") page(data)
    else if (data.kind === "bar") bar.update(data.bar)
    else if (data.kind === "pictures") {
      for (const picture of data.pictures) {
        const it = tiles.get(picture.id)
        if (it) draw(it, picture)
      }
    } else if (data.kind === "ticks") {
      const ticked = new Set(data.ids)
      for (const it of tiles.values()) {
        it.tick.checked = ticked.has(it.id)
        describe(it)
      }
    }
  })

  send({ kind: "ready" })
  return root
}
