// The map in the browser: keys, fields, hover, and a Bokeh figure whose one picture the server draws.
// All text from the data is set with textContent or drawn on the canvas; nothing is parsed as HTML.

const REST = 120         // ms without a change before labels of the view are asked for
const LOST = 4000        // ms after which an answer that did not come is asked for again

export function render({ model, view, el }) {
  const plot = view.model.data.figure
  const source = name => plot.renderers.find(each => each.name === name).data_source
  const root = make("div", "ld-map")

  // -- above the map: what a drag does, what colors mean ----------------------------------------
  const head = make("div", "ld-map-head")
  const { modes, buttons } = modeButtons(name => choose(name))
  function choose(name) {
    for (const tool of plot.toolbar.tools) {
      if (["lasso", "box", "pan"].includes(tool.name)) tool.active = tool.name === name
    }
    for (const [each, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(each === name))
    }
  }
  const colorLabel = make("label", "ld-map-color", "Color ")
  const colorSelect = make("select")
  colorLabel.append(colorSelect)
  colorSelect.onchange = () => model.send_msg({ kind: "color", value: colorSelect.value })
  const methodLabel = make("span", "ld-map-method")
  methodLabel.title = "How embeddings are projected to two dimensions. UMAP takes a minute or two the first time."
  const methodSelect = make("select")
  methodSelect.setAttribute("aria-label", "Projection")
  methodLabel.append(methodSelect)
  methodSelect.onchange = () => model.send_msg({ kind: "projection", value: methodSelect.value })
  const key = make("div", "ld-map-key")
  const reset = make("button", "", "Show all")
  reset.type = "button"
  reset.title = "Show the whole map (0)"
  reset.onclick = () => showAll()
  const pick = make("button", "", "Select view")
  pick.type = "button"
  pick.title = "Select the rows that are in view (Enter)"
  pick.onclick = () => selectView()
  head.append(modes, colorLabel, methodLabel, reset, pick)

  // -- the map ----------------------------------------------------------------------------------
  const stage = make("div", "ld-map-stage")
  stage.tabIndex = 0
  stage.setAttribute("role", "application")
  const figureElement = model.get_child("figure")
  const status = make("div", "ld-map-status")
  status.setAttribute("role", "status")
  const corner = make("div", "ld-map-corner")
  corner.append(key)
  const message = make("div", "ld-map-message")
  message.setAttribute("role", "status")
  const { card, hide: hideCard } = hoverCard(model, view, plot, stage, () => pixel())
  stage.append(figureElement, corner, card, message, make("div", "ld-map-ring"))

  // -- below the map: the view in numbers -------------------------------------------------------
  const foot = make("div", "ld-map-foot")
  const fields = {}
  for (const [name, label] of [["x0", "x"], ["x1", "to"], ["y0", "y"], ["y1", "to"]]) {
    const holder = make("label", "", label + " ")
    const input = make("input")
    input.type = "number"
    input.step = "any"
    input.setAttribute("aria-label", { x0: "Smallest x in view", x1: "Largest x in view",
      y0: "Smallest y in view", y1: "Largest y in view" }[name])
    input.onchange = () => {
      const asked = Object.fromEntries(
        Object.entries(fields).map(([each, field]) => [each, parseFloat(field.value)]))
      if (asked.x0 < asked.x1 && asked.y0 < asked.y1) show(asked.x0, asked.x1, asked.y0, asked.y1)
      writeFields(true)                                   // the view has limits
    }
    fields[name] = input
    holder.append(input)
    foot.append(holder)
  }
  const help = make("p", "ld-map-help", "Arrow keys move the map, plus and minus zoom, 0 shows all, " +
    "Enter selects what is in view, Escape removes the selection on the map.")
  help.id = "ld-map-help-" + view.model.id
  stage.setAttribute("aria-describedby", help.id)
  foot.append(status)
  root.append(head, stage, foot, help)
  el.replaceChildren(root)

  // -- the view ---------------------------------------------------------------------------------
  const range = () => [plot.x_range.start, plot.x_range.end, plot.y_range.start, plot.y_range.end]
  let touched = false, fitting = false   // whether the user has chosen a view; else it is all of it
  function show(x0, x1, y0, y1) {
    const { x, y, smallest, largest } = model.extent      // of the whole map, and of a view's side
    const limit = (from, to, middle) => {
      const span = Math.min(Math.max(to - from, smallest), largest)
      const center = Math.min(Math.max((from + to) / 2, middle - largest), middle + largest)
      return [center - span / 2, center + span / 2]
    }
    [x0, x1] = limit(x0, x1, (x[0] + x[1]) / 2);
    [y0, y1] = limit(y0, y1, (y[0] + y[1]) / 2)
    plot.x_range.setv({ start: x0, end: x1 })
    plot.y_range.setv({ start: y0, end: y1 })
  }
  function showAll() {
    const { x, y } = model.extent
    const [width, height] = size()
    const unit = Math.max((x[1] - x[0]) / width, (y[1] - y[0]) / height)  // of one pixel
    const [cx, cy] = [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2]
    fitting = true
    show(cx - unit * width / 2, cx + unit * width / 2, cy - unit * height / 2, cy + unit * height / 2)
    fitting = false
  }
  function pan(dx, dy) {
    const [x0, x1, y0, y1] = range()
    const [mx, my] = [dx * (x1 - x0), dy * (y1 - y0)]
    show(x0 + mx, x1 + mx, y0 + my, y1 + my)
  }
  function zoom(factor) {
    const [x0, x1, y0, y1] = range()
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2]
    const [w, h] = [(x1 - x0) * factor / 2, (y1 - y0) * factor / 2]
    show(cx - w, cx + w, cy - h, cy + h)
  }
  function selectView() {
    const [x0, x1, y0, y1] = range()
    model.send_msg({ kind: "region", x: [x0, x1, x1, x0], y: [y0, y0, y1, y1], pixel: pixel() })
  }
  const size = () => [Math.max(plot.inner_width || 0, 2) , Math.max(plot.inner_height || 0, 2)]
  const pixel = () => {
    const [x0, x1, y0, y1] = range()
    const [width, height] = size()
    return [(x1 - x0) / width, (y1 - y0) / height]
  }
  function writeFields(all = false) {
    const [x0, x1, y0, y1] = range()
    const at = { x0, x1, y0, y1 }
    for (const name in fields) {
      const span = name[0] === "x" ? x1 - x0 : y1 - y0
      if (all || root.getRootNode().activeElement !== fields[name]) {
        fields[name].value = rounded(at[name], span)
      }
    }
  }

  // One request is under way at a time: the next one has the view as it is by then.
  let sequence = 0, waiting = 0, stale = false, timer = null, lost = null
  function changed() {
    touched = !fitting
    hideCard()
    writeFields()
    if (timer === null) timer = setTimeout(ask, 0)        // once for both axes
  }
  let resting = null
  function rested() {
    if (waiting || stale) { resting = setTimeout(rested, REST); return }
    model.send_msg({ kind: "labels" })
  }
  function extended() {
    const { smallest, largest } = model.extent
    for (const each of [plot.x_range, plot.y_range]) {    // for the wheel
      each.setv({ min_interval: smallest, max_interval: largest })
    }
    before = null
    drawWords()
    resized()
  }
  function ask() {
    timer = null
    if (waiting) { stale = true; return }
    const [width, height] = size()
    if (width < 10 || height < 10) return
    stale = false
    waiting = ++sequence
    clearTimeout(lost)
    lost = setTimeout(() => { waiting = 0; if (stale) ask() }, LOST)
    clearTimeout(resting)
    resting = setTimeout(rested, REST)
    model.send_msg({
      kind: "view", view: range(), width, height, sequence: waiting, version: model.extent.version ?? 0,
    })
  }
  for (const each of [plot.x_range, plot.y_range]) {
    each.properties.start.change.connect(changed)
    each.properties.end.change.connect(changed)
  }
  let before = null
  function resized() {
    const [width, height] = size()
    if (width < 10 || height < 10) return
    if (!touched || before === null) showAll()
    else {
      const [x0, x1, y0, y1] = range()                    // the same scale as before
      const [w, h] = [(x1 - x0) * width / before[0] / 2, (y1 - y0) * height / before[1] / 2]
      const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2]
      show(cx - w, cx + w, cy - h, cy + h)
    }
    before = [width, height]
    if (timer === null) timer = setTimeout(ask, 0)
  }
  let settled = null
  const later = () => { clearTimeout(settled); settled = setTimeout(resized, 80) }
  plot.properties.inner_width.change.connect(later)
  plot.properties.inner_height.change.connect(later)

  // -- what the server sends --------------------------------------------------------------------
  const NDArray = source("picture").data.image[0].constructor
  let shown = 0
  async function drawPicture() {
    const { png, view: [x0, x1, y0, y1], sequence: answered, order } = model.picture
    if (!png) return
    const rgba = await pixelsOf(png, NDArray)
    if (order < shown) return                             // a later one is there already
    shown = order
    const picture = source("picture")
    picture.data = { image: [rgba], x: [x0], y: [y0], dw: [x1 - x0], dh: [y1 - y0] }
    drawLabels()                                          // others overlap in another view
    root.dataset.order = String(order)
    if (waiting && answered >= waiting) {
      waiting = 0
      clearTimeout(lost)
      if (stale) ask()
    }
  }
  function drawOutline() {
    const [x, y] = model.outline
    source("outline").data = { xs: x.length ? [x] : [], ys: y.length ? [y] : [] }
  }
  function drawLabels() {
    const { x, y, text } = model.labels
    const kept = withoutOverlap(model.labels, text.length ? view.get_child_view(plot) : null, corner)
    const pick = values => kept.map(at => values[at])
    for (const name of ["halos", "labels"]) source(name).data = { x: pick(x), y: pick(y), text: pick(text) }
  }
  const drawKey = () => writeKey(key, model.key)
  function drawTheme() {
    root.classList.toggle("ld-dark", model.dark)
    paint(plot, model.dark)
  }
  const drawColors = () => drawOptions(colorSelect, model.color_options, model.color)
  function drawMethods() {
    drawOptions(methodSelect, model.projection_options, model.projection)
    methodSelect.hidden = model.projection_options.length < 2
  }
  function drawWords() {
    stage.setAttribute("aria-label", model.description || model.message)
    if (status.textContent !== model.status) status.textContent = status.title = model.status
    message.textContent = model.message
    message.hidden = !model.message || model.extent.version > 0
    const [x, y] = model.extent.axes ?? model.axes
    plot.below[0].axis_label = x
    plot.left[0].axis_label = y
  }

  plot.document.event_manager.subscribed_models.add(plot)
  plot.on_event("selectiongeometry", ({ geometry: g, final }) => {
    if (!final) return
    const [x, y] = g.type === "rect"
      ? [[g.x0, g.x1, g.x1, g.x0], [g.y0, g.y0, g.y1, g.y1]] : [Array.from(g.x), Array.from(g.y)]
    model.send_msg({ kind: "region", x, y, pixel: pixel() })
  })

  // -- keys, focus ------------------------------------------------------------------------------
  const wheel = plot.toolbar.tools.find(tool => tool.name === "wheel")
  stage.addEventListener("pointerdown", () => {
    stage.focus({ preventScroll: true })
  }, true)
  stage.addEventListener("focusin", () => { wheel.active = true })
  stage.addEventListener("focusout", event => {
    if (stage.contains(event.relatedTarget)) return       // to the canvas of the figure
    wheel.active = false
    hideCard()
  })
  const keys = {
    ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0),
    ArrowUp: () => pan(0, 0.15), ArrowDown: () => pan(0, -0.15),
    "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5), "_": () => zoom(1.5),
    "0": showAll, Enter: selectView, Escape: () => model.send_msg({ kind: "clear" }),
  }
  stage.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return
    event.preventDefault()
    event.stopPropagation()                               // Lab has shortcuts of its own
    keys[event.key]()
  })

  model.on("picture", drawPicture)
  model.on("outline", drawOutline)
  model.on("labels", drawLabels)
  model.on("key", drawKey)
  model.on(["color", "color_options"], drawColors)
  model.on(["projection", "projection_options"], drawMethods)
  model.on("dark", drawTheme)
  model.on(["description", "status", "message", "axes"], drawWords)
  model.on("extent", extended)
  model.on("go", () => { const [x0, x1, y0, y1] = model.go; show(x0, x1, y0, y1) })
  choose("lasso")
  for (const step of [drawTheme, drawColors, drawMethods, drawKey, drawWords, drawOutline, drawLabels]) step()
  drawPicture()
  extended()
  later()
}
