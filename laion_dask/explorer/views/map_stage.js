// The frame around the figure: it takes the focus, keys and the wheel, and shows messages.

function mapStage() {
  const stage = make("div", "ld-map-stage")
  stage.tabIndex = 0
  stage.setAttribute("role", "application")
  return stage
}

// Bokeh's layer for events takes the focus by Tab without a name; the frame around it is enough.
function skipInTabOrder(view, plot) {
  const layer = view.get_child_view(plot)?.canvas_view?.events_el
  if (layer) layer.tabIndex = -1
}

function statusLine(className) {
  const line = make("div", className)
  line.setAttribute("role", "status")
  return line
}

function keyHelp(stage, id) {
  const help = make("p", "ld-map-help", "Arrow keys move the map, plus and minus zoom, 0 shows all, " +
    "Enter selects what is in view, Escape removes the selection on the map.")
  help.id = id
  stage.setAttribute("aria-describedby", id)
  return help
}

function keyActions({ pan, zoom, showAll }, { selectView, clear }) {
  const zoomIn = () => zoom(1 / 1.5), zoomOut = () => zoom(1.5)
  return {
    ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0),
    ArrowUp: () => pan(0, 0.15), ArrowDown: () => pan(0, -0.15),
    "+": zoomIn, "=": zoomIn, "-": zoomOut, "_": zoomOut,
    "0": showAll, Enter: selectView, Escape: clear,
  }
}

function listenForKeys(stage, actions) {
  stage.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return
    event.preventDefault()
    event.stopPropagation()                               // Lab has shortcuts of its own
    actions[event.key]()
  })
}

// The wheel zooms only while the map has the focus: elsewhere it scrolls the page.
function listenForFocus(stage, plot, onLeave) {
  const wheel = plot.toolbar.tools.find(tool => tool.name === "wheel")
  stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }), true)
  stage.addEventListener("focusin", () => { wheel.active = true })
  stage.addEventListener("focusout", event => {
    if (stage.contains(event.relatedTarget)) return       // to the canvas of the figure
    wheel.active = false
    onLeave()
  })
}
