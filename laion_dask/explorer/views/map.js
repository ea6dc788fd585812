// The map in the browser: a Bokeh figure whose one picture the server draws, with what is around it.
// All text from the data is set with textContent or drawn on the canvas; nothing is parsed as HTML.

const SETTLE = 80        // ms without a change of the plot's size before the view follows it

function selectionActions(model, viewport) {
  const select = ({ x, y }) => model.send_msg({ kind: "region", x, y, pixel: viewport.pixel() })
  return {
    selectView: () => select(cornersOf(viewport.range())),
    selectDrawn({ geometry, final }) {
      if (!final) return
      const { type, x0, x1, y0, y1, x, y } = geometry
      select(type === "rect" ? cornersOf([x0, x1, y0, y1]) : { x: Array.from(x), y: Array.from(y) })
    },
    clear: () => model.send_msg({ kind: "clear" }),
  }
}

function mapElements(model, view, plot, viewport, actions) {
  const { modes, choose: chooseDrag } = dragModes(plot)
  const head = make("div", "ld-map-head")
  head.append(modes, colorChoice(model), projectionChoice(model),
    actionButton("Show all", "Show the whole map (0)", () => viewport.showAll()),
    actionButton("Select view", "Select the rows that are in view (Enter)", actions.selectView))
  const stage = mapStage()
  const key = make("div", "ld-map-key")
  const message = statusLine("ld-map-message")
  const { card, hide: hideCard } = hoverCard(model, view, plot, stage, viewport.pixel)
  stage.append(model.get_child("figure"), card, message, make("div", "ld-map-ring"))
  const fields = viewFields(viewport)
  const status = statusLine("ld-map-status")
  const foot = make("div", "ld-map-foot")
  foot.append(...fields.labels, status)
  const root = make("div", "ld-map")
  root.append(head, key, stage, foot, keyHelp(stage, "ld-map-help-" + view.model.id))
  return { root, stage, key, message, status, chooseDrag, hideCard, writeFields: fields.write }
}

function writeWords(model, plot, { stage, status, message }) {
  stage.setAttribute("aria-label", model.description || model.message)
  if (status.textContent !== model.status) status.textContent = status.title = model.status
  message.textContent = model.message
  message.hidden = !model.message || model.extent.version > 0
  const [x, y] = model.extent.axes ?? model.axes
  plot.below[0].axis_label = x
  plot.left[0].axis_label = y
}

// Draw what the server sends, now and whenever it changes; `onPicture` takes the number of a picture.
function followModel(model, view, plot, { root, key, ...texts }, onPicture) {
  const drawPicture = pictureLayer(plot)
  const redrawLabels = () => drawLabels(view, plot, model.labels, model.picture.few)
  async function redrawPicture() {
    const picture = model.picture
    if (!await drawPicture(picture)) return
    skipInTabOrder(view, plot)
    redrawLabels()                                           // others overlap in another view
    root.dataset.order = String(picture.order)
    onPicture(picture.sequence)
  }
  function redrawTheme() {
    root.classList.toggle("ld-dark", model.dark)
    paint(plot, model.dark)
  }
  for (const [names, draw] of [
    ["dark", redrawTheme],
    ["key", () => writeKey(key, model.key)],
    [["description", "status", "message", "axes", "extent"], () => writeWords(model, plot, texts)],
    ["outline", () => drawOutline(plot, model.outline)],
    ["labels", redrawLabels],
    ["picture", redrawPicture],
  ]) {
    model.on(names, draw)
    draw()
  }
}

// Fit the view to the model's extent and the plot's size, and ask for its pictures.
function followView(model, plot, viewport, requests, { writeFields, hideCard }) {
  onRangeChange(plot, () => {
    hideCard()
    writeFields()
    requests.schedule()
  })
  function resize() {
    if (!viewport.isLaidOut()) return
    viewport.resize()
    requests.schedule()
  }
  function extend() {
    limitWheel(plot, model.extent)
    viewport.forgetSize()
    resize()
  }
  let settling = null
  function settle() {
    clearTimeout(settling)
    settling = setTimeout(resize, SETTLE)
  }
  plot.properties.inner_width.change.connect(settle)
  plot.properties.inner_height.change.connect(settle)
  model.on("extent", extend)
  model.on("go", () => viewport.show(model.go))
  extend()
  settle()
}

export function render({ model, view, el }) {
  const plot = view.model.data.figure
  const viewport = mapViewport(model, plot)
  const actions = selectionActions(model, viewport)
  const elements = mapElements(model, view, plot, viewport, actions)
  el.replaceChildren(elements.root)
  plot.document.event_manager.subscribed_models.add(plot)
  plot.on_event("selectiongeometry", actions.selectDrawn)
  listenForFocus(elements.stage, plot, elements.hideCard)
  listenForKeys(elements.stage, keyActions(viewport, actions))
  elements.chooseDrag("lasso")
  const requests = pictureRequests(model, viewport)
  followModel(model, view, plot, elements, requests.answer)
  followView(model, plot, viewport, requests, elements)
}
