// A tile of the gallery: a picture that the server has made, or a card of text.

function pictureElements() {
  const picture = make("div", "ld-picture")
  const image = make("img")
  image.alt = ""
  image.draggable = false
  image.hidden = true
  image.onerror = () => { image.removeAttribute("src"); image.hidden = true }
  const reason = make("span", "ld-reason")
  const veil = make("span", "ld-veil", "show")
  picture.append(image, reason, veil)
  return { picture, image, reason, veil }
}

function tickBox(ontick) {
  const tick = make("input", "ld-tick")
  tick.type = "checkbox"
  tick.tabIndex = -1
  tick.onchange = ontick
  return tick
}

// `choose` takes the tile, and whether it is to have the focus.
function makeTile(id, send, choose) {
  const cell = make("div", "ld-tile")
  cell.setAttribute("role", "gridcell")
  cell.tabIndex = -1
  const caption = make("bdi", "ld-caption")
  caption.dir = "auto"
  const facts = make("div", "ld-facts")
  const tick = tickBox(() => send({ kind: "tick", id, ticked: tick.checked }))
  const more = button("more like this", "", () => send({ kind: "more", id }))
  more.className = "ld-more"
  more.tabIndex = -1
  const line = make("div", "ld-line")
  line.setAttribute("role", "row")
  line.append(cell)
  const tile = { id, line, cell, caption, facts, tick, more, ...pictureElements(),
    isBlurred: false, hasPicture: false, row: null }
  cell.append(tile.picture, tick, caption, facts)
  tile.picture.onclick = () => revealPicture(tile, send)
  cell.addEventListener("focusin", () => choose(tile, false))
  cell.addEventListener("pointerdown", event => {
    if (event.target !== tick && event.target !== more) choose(tile, true)
  })
  return tile
}

function factElement([name, value]) {
  const fact = make("span", "ld-fact")
  if (name) fact.append(make("span", "muted", `${name} `))
  fact.append(make("bdi", "", value))
  return fact
}

function writeTile(tile, row, hasPictures) {
  tile.row = row
  tile.caption.textContent = row.caption ?? "no caption"
  tile.caption.classList.toggle("ld-none", row.caption === null)
  tile.facts.replaceChildren(...row.facts.map(factElement), tile.more)
  tile.tick.checked = row.ticked
  tile.tick.setAttribute("aria-label", "Tick this row")
  tile.more.hidden = !row.has_more
  tile.picture.hidden = !hasPictures
  tile.cell.classList.toggle("ld-card", !hasPictures)
  describeTile(tile)
}

function describeTile({ row, cell, tick, image, veil, picture, hasPicture, isBlurred }) {
  cell.setAttribute("aria-selected", String(tick.checked))
  cell.classList.toggle("ld-ticked", tick.checked)
  image.alt = isBlurred ? "Blurred picture; Enter shows it" : `Picture: ${row.caption ?? "no caption"}`
  veil.hidden = !(hasPicture && row.doubt)
  veil.textContent = isBlurred ? `show · ${row.doubt}` : "blur again"
  picture.classList.toggle("ld-can-reveal", hasPicture && Boolean(row.doubt))
  picture.title = hasPicture && row.doubt ? (isBlurred ? "Show this picture" : "Blur this picture") : ""
}

function dropPicture(tile) {
  tile.image.removeAttribute("src")
  tile.image.hidden = true
  tile.hasPicture = tile.isBlurred = false
  tile.reason.textContent = ""
}

function drawPicture(tile, { jpeg, blurred, reason }) {
  dropPicture(tile)
  if (jpeg) {
    tile.image.src = `data:image/jpeg;base64,${jpeg}`
    tile.image.hidden = false
    tile.hasPicture = true
    tile.isBlurred = blurred
  } else tile.reason.textContent = reason
  describeTile(tile)
}

function tickTile(tile, isTicked) {
  tile.tick.checked = isTicked
  describeTile(tile)
}

// Show a blurred picture of a row that is not known to be safe, or blur it again.
function revealPicture({ id, row, hasPicture, isBlurred }, send) {
  if (hasPicture && row.doubt) send({ kind: "reveal", id, shown: isBlurred })
}
