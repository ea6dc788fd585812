// The card beside the pointer: the row that is there, once the pointer rests.

const HOVER = 40         // ms the pointer rests before a row is asked for

function hoverCard(model, view, plot, stage, pixel) {
  const card = make("div", "ld-map-card")
  card.hidden = true
  let rest = null, at = null, asked = 0
  function hide() {
    clearTimeout(rest)
    asked++
    card.hidden = true
  }
  function moved(event) {
    if (event.buttons) return hide()
    const { frame, el: canvas } = view.get_child_view(plot)
    const box = canvas.getBoundingClientRect()
    const [sx, sy] = [event.clientX - box.left, event.clientY - box.top]
    if (at !== null && Math.hypot(sx - at.sx, sy - at.sy) > 6) hide()
    clearTimeout(rest)
    if (!frame.bbox.contains(sx, sy)) return hide()
    at = { x: frame.x_scale.invert(sx), y: frame.y_scale.invert(sy), sx, sy }
    rest = setTimeout(() => {
      model.send_msg({ kind: "hover", x: at.x, y: at.y, pixel: pixel(), sequence: ++asked })
    }, HOVER)
  }
  let concealed = null                                    // where a hidden caption was shown
  function reveal(event) {
    if (concealed === null || Math.hypot(event.clientX - concealed.px, event.clientY - concealed.py) > 4) return
    at = concealed.at
    model.send_msg({ kind: "hover", x: at.x, y: at.y, pixel: pixel(), sequence: ++asked, reveal: true })
  }
  function draw() {
    const { sequence: answered, title, hidden, lines = [] } = model.card
    card.dataset.answered = answered
    if (answered !== asked || !title) { card.hidden = true; return }
    card.replaceChildren(make("div", hidden ? "ld-map-card-hidden" : "ld-map-card-title", title))
    for (const [label, value] of lines) {
      const line = make("div", "ld-map-card-line")
      line.append(make("span", "", label), make("span", "", value))
      card.append(line)
    }
    card.hidden = false
    const [w, h] = [stage.clientWidth, stage.clientHeight]
    const left = at.sx + 16 + card.offsetWidth > w ? at.sx - 16 - card.offsetWidth : at.sx + 16
    const top = at.sy + 16 + card.offsetHeight > h ? at.sy - 16 - card.offsetHeight : at.sy + 16
    card.style.left = Math.max(2, left) + "px"
    card.style.top = Math.max(2, top) + "px"
  }
  stage.addEventListener("pointerdown", event => {
    const isConcealed = !card.hidden && model.card.hidden
    concealed = isConcealed ? { at, px: event.clientX, py: event.clientY } : null
    hide()
  }, true)
  stage.addEventListener("pointerup", reveal, true)
  stage.addEventListener("pointermove", moved)
  stage.addEventListener("pointerleave", hide)
  model.on("card", draw)
  return { card, hide }
}
