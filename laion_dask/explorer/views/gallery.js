// The gallery in the browser: a grid of tiles below a bar. A picture comes as a message and is never
// part of the model, so that no notebook has it. Text from the data is set with textContent only.

function gridElement() {
  const grid = make("div", "ld-grid")
  grid.setAttribute("role", "grid")
  grid.setAttribute("aria-label", "Rows of the selection")
  grid.setAttribute("aria-multiselectable", "true")
  return grid
}

// The number of tiles in the first line of the grid.
function columnsOf(tiles) {
  const next = tiles.findIndex(({ cell }) => cell.offsetTop !== tiles[0].cell.offsetTop)
  return next < 0 ? tiles.length : next
}

// The steps of arrows and other keys in the list of tiles, from the tile at a position.
function stepsFrom(at, tiles, grid) {
  const forward = getComputedStyle(grid).direction === "rtl" ? -1 : 1
  const columns = columnsOf(tiles)
  return { ArrowRight: forward, ArrowLeft: -forward, ArrowDown: columns, ArrowUp: -columns,
    Home: -at, End: tiles.length - 1 - at }
}

// The tiles of a page; Tab reaches one of them, and then its button.
function tileGrid(el, send) {
  const grid = gridElement()
  let tiles = new Map()      // by position in the sample, in the order of the page
  let current = null         // the position of the tile that Tab reaches
  function choose({ id }, hasFocus) {
    for (const [other, { cell, more }] of tiles) cell.tabIndex = more.tabIndex = other === id ? 0 : -1
    current = id
    if (hasFocus) tiles.get(id)?.cell.focus()
  }
  function write({ tiles: rows, has_pictures, bar }) {
    const hadFocus = grid.contains(el.getRootNode().activeElement)
    const before = tiles
    tiles = new Map()
    for (const row of rows) {
      const tile = before.get(row.id) ?? makeTile(row.id, send, choose)
      tiles.set(row.id, tile)
      if (!row.keeps) dropPicture(tile)
      writeTile(tile, row, has_pictures)
      tile.line.setAttribute("aria-rowindex", String(row.number))
    }
    for (const [id, tile] of before) if (!tiles.has(id)) dropPicture(tile)
    grid.setAttribute("aria-rowcount", String(bar.n))
    grid.replaceChildren(...[...tiles.values()].map(({ line }) => line))
    grid.scrollTop = 0
    grid.hidden = !tiles.size
    const chosen = tiles.get(current) ?? tiles.values().next().value
    if (chosen) choose(chosen, hadFocus)
    else current = null
  }
  return { grid, write, choose, find: id => tiles.get(id), list: () => [...tiles.values()],
    current: () => tiles.get(current) }
}

function listenForKeys({ grid, list, current, choose }, send, turn) {
  function move(tile, key) {
    const tiles = list(), at = tiles.indexOf(tile), step = stepsFrom(at, tiles, grid)[key]
    if (step === undefined) return false
    if (tiles[at + step]) choose(tiles[at + step], true)
    return true
  }
  function act(tile, key) {
    if (key === " ") {
      tickTile(tile, !tile.tick.checked)
      tile.tick.onchange()
    } else if (key === "Enter") revealPicture(tile, send)
    else if (key === "PageDown") turn(1)
    else if (key === "PageUp") turn(-1)
    else if (key.toLowerCase() === "m" && tile.row.has_more) tile.more.click()
    else return false
    return true
  }
  grid.addEventListener("keydown", event => {
    if (event.target.className === "ld-more" || event.altKey || event.ctrlKey || event.metaKey) return
    const tile = current()
    if (!tile || !(move(tile, event.key) || act(tile, event.key))) return
    event.preventDefault()
    event.stopPropagation()
  })
}

export function render({ model, el }) {
  const send = message => model.send_msg(message)
  const bar = pageBar(send, "gallery")
  const note = make("div", "ld-note muted")
  note.setAttribute("role", "status")
  const tiles = tileGrid(el, send)
  listenForKeys(tiles, send, bar.go)
  const root = make("div", "gallery-component")
  root.append(bar.element, note, bar.empty, tiles.grid, make("p", "ld-help muted",
    "Arrows move, Space ticks, Enter shows or blurs a picture, M looks for more like it, Page Up " +
    "and Page Down turn the page."))
  const actions = {
    page(message) {
      tiles.write(message)
      bar.update(message.bar)
      note.textContent = message.note
      note.hidden = !message.note
    },
    bar: message => bar.update(message.bar),
    pictures({ pictures }) {
      for (const picture of pictures) {
        const tile = tiles.find(picture.id)
        if (tile) drawPicture(tile, picture)
      }
    },
    ticks({ ids }) {
      const ticked = new Set(ids)
      for (const tile of tiles.list()) tickTile(tile, ticked.has(tile.id))
    },
  }
  model.on("msg:custom", text => {
    const message = JSON.parse(text)
    actions[message.kind]?.(message)
  })
  send({ kind: "ready" })
  return root
}
