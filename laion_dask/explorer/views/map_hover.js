// The card beside the pointer: the row that is there, once the pointer rests.

const HOVER = 40         // ms the pointer rests before a row is asked for
const SAME_PLACE = 6     // px the pointer may move before the card of its row is hidden
const CLICK = 4          // px the pointer may move between press and release of a click

function writeCard(card, { title, hidden, lines = [] }) {
  card.replaceChildren(make("div", hidden ? "ld-map-card-hidden" : "ld-map-card-title", title))
  for (const [label, value] of lines) {
    const line = make("div", "ld-map-card-line")
    line.append(make("span", "", label), make("span", "", value))
    card.append(line)
  }
}

// Below and to the right of a point, or on the other side where there is no room.
function placeBeside({ sx, sy }, card, stage) {
  const beside = (at, length, room) => at + 16 + length > room ? at - 16 - length : at + 16
  card.style.left = Math.max(2, beside(sx, card.offsetWidth, stage.clientWidth)) + "px"
  card.style.top = Math.max(2, beside(sy, card.offsetHeight, stage.clientHeight)) + "px"
}

function hoverCard(model, view, plot, stage, pixel) {
  const card = make("div", "ld-map-card")
  card.hidden = true
  let rest = null, at = null, asked = 0
  let concealed = null                                    // where a hidden caption was shown
  function ask(options) {
    model.send_msg({ kind: "hover", x: at.x, y: at.y, pixel: pixel(), sequence: ++asked, ...options })
  }
  function hide() {
    clearTimeout(rest)
    asked++
    card.hidden = true
  }
  function move(event) {
    if (event.buttons) return hide()
    const { frame, el: canvas } = view.get_child_view(plot)
    const box = canvas.getBoundingClientRect()
    const [sx, sy] = [event.clientX - box.left, event.clientY - box.top]
    if (at !== null && Math.hypot(sx - at.sx, sy - at.sy) > SAME_PLACE) hide()
    clearTimeout(rest)
    if (!frame.bbox.contains(sx, sy)) return hide()
    at = { x: frame.x_scale.invert(sx), y: frame.y_scale.invert(sy), sx, sy }
    rest = setTimeout(ask, HOVER)
  }
  function press({ clientX, clientY }) {
    concealed = !card.hidden && model.card.hidden ? { at, clientX, clientY } : null
    hide()
  }
  function reveal({ clientX, clientY }) {
    if (concealed === null) return
    if (Math.hypot(clientX - concealed.clientX, clientY - concealed.clientY) > CLICK) return
    at = concealed.at
    ask({ reveal: true })
  }
  function draw() {
    card.dataset.answered = model.card.sequence
    card.hidden = model.card.sequence !== asked || !model.card.title
    if (card.hidden) return
    writeCard(card, model.card)
    placeBeside(at, card, stage)
  }
  stage.addEventListener("pointerdown", press, true)
  stage.addEventListener("pointerup", reveal, true)
  stage.addEventListener("pointermove", move)
  stage.addEventListener("pointerleave", hide)
  model.on("card", draw)
  return { card, hide }
}
