// The map in the browser: keys, fields, hover, and a Bokeh figure whose one picture the server draws.
// All text from the data is set with textContent or drawn on the canvas; nothing is parsed as HTML.

const HOVER = 40         // ms the pointer rests before a row is asked for
const REST = 120         // ms without a change before labels of the view are asked for
const LOST = 4000        // ms after which an answer that did not come is asked for again

const LABEL = "bold 12px Helvetica, Arial, sans-serif"
const pen = document.createElement("canvas").getContext("2d")

const overlap = ([x, y, w, h], [left, top, width, height]) =>
  x < left + width && left < x + w && y < top + height && top < y + h

function make(tag, className, text) {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text !== undefined) element.textContent = text
  return element
}

function rounded(value, span) {
  const digits = Math.max(0, Math.min(8, 3 - Math.floor(Math.log10(span || 1))))
  return Number(value).toFixed(digits)
}

export function render({ model, view, el }) {
  const plot = view.model.data.figure
  const source = name => plot.renderers.find(each => each.name === name).data_source
  const root = make("div", "ld-map")

  // -- above the map: what a drag does, what colors mean ----------------------------------------
  const head = make("div", "ld-map-head")
  const modes = make("div", "ld-map-modes")
  modes.setAttribute("role", "group")
  modes.setAttribute("aria-label", "What dragging on the map does")
  const buttons = {}
  for (const [name, label, title] of [
    ["lasso", "Lasso", "Drag around rows to select them"],
    ["box", "Box", "Drag a rectangle over rows to select them"],
    ["pan", "Pan", "Drag to move the map"],
  ]) {
    const button = make("button", "", label)
    button.type = "button"
    button.title = title
    button.onclick = () => choose(name)
    buttons[name] = button
    modes.append(button)
  }
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
  const card = make("div", "ld-map-card")
  card.hidden = true
  const status = make("div", "ld-map-status")
  status.setAttribute("role", "status")
  const corner = make("div", "ld-map-corner")
  corner.append(key)
  const message = make("div", "ld-map-message")
  message.setAttribute("role", "status")
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
    const image = await createImageBitmap(new Blob([png], { type: "image/png" }))
    if (order < shown) return                             // a later one is there already
    shown = order
    const canvas = document.createElement("canvas")
    canvas.width = image.width
    canvas.height = image.height
    const context = canvas.getContext("2d", { willReadFrequently: true })
    context.drawImage(image, 0, 0)
    const { data } = context.getImageData(0, 0, image.width, image.height)
    const rgba = new NDArray(data.buffer, [image.height, image.width])
    const picture = source("picture")
    picture.data = { image: [rgba], x: [x0], y: [y0], dw: [x1 - x0], dh: [y1 - y0] }
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
    const kept = withoutOverlap(x, y, text)
    const pick = values => kept.map(at => values[at])
    for (const name of ["halos", "labels"]) source(name).data = { x: pick(x), y: pick(y), text: pick(text) }
  }
  // The labels that overlap neither an earlier one, of a denser region, nor the key.
  function withoutOverlap(x, y, text) {
    const drawn = text.length ? view.get_child_view(plot) : null
    if (!drawn?.frame) return [...text.keys()]
    const { frame, el: canvas } = drawn
    const [origin, legend] = [canvas, corner].map(one => one.getBoundingClientRect())
    const boxes = [[legend.left - origin.left, legend.top - origin.top, legend.width, legend.height]]
    pen.font = LABEL
    return text.flatMap((label, at) => {
      const [w, h] = [pen.measureText(label).width + 6, 16]
      const box = [frame.x_scale.compute(x[at]) - w / 2, frame.y_scale.compute(y[at]) - h / 2, w, h]
      if (boxes.some(other => overlap(box, other))) return []
      boxes.push(box)
      return [at]
    })
  }
  function drawKey() {
    const { kind, title, note, colors = [], ticks = [], items = [] } = model.key
    key.replaceChildren(make("span", "ld-map-key-title", title))
    if (kind === "classes") {
      const list = make("ul")
      for (const [color, label] of items) {
        const item = make("li")
        const swatch = make("span", "ld-map-swatch")
        swatch.style.background = color
        const text = make("span", "", label)
        text.title = label
        item.append(swatch, text)
        list.append(item)
      }
      key.append(list)
    } else if (ticks.length) {
      const scale = make("div", "ld-map-scale")
      const bar = make("div", "ld-map-bar")
      bar.style.background = ticks.length > 1 ? `linear-gradient(to right, ${colors.join(",")})` : colors[0]
      const row = make("div", "ld-map-ticks")
      for (const [at, label] of ticks) {
        const tick = make("span", "", label)
        tick.style.left = 100 * at + "%"
        tick.style.transform = `translateX(${-100 * at}%)`
        row.append(tick)
      }
      scale.append(bar, row)
      key.append(scale)
    }
    if (note) key.append(make("span", "ld-map-note", note))
  }
  function drawOptions(select, options, chosen) {
    select.replaceChildren()
    for (const [value, label] of options) {
      const option = make("option", "", label)
      option.value = value
      select.append(option)
    }
    select.value = chosen
  }
  const drawColors = () => drawOptions(colorSelect, model.color_options, model.color)
  function drawMethods() {
    drawOptions(methodSelect, model.projection_options, model.projection)
    methodSelect.hidden = model.projection_options.length < 2
  }
  function drawTheme() {
    root.classList.toggle("ld-dark", model.dark)
    const [ink, grid, back] = model.dark ? ["#c3cad4", "#2a313b", "#14181d"] : ["#52606d", "#eceff2", "#ffffff"]
    plot.setv({ background_fill_color: back, border_fill_color: back, outline_line_color: grid })
    for (const axis of [...plot.below, ...plot.left]) {
      axis.setv({ major_label_text_color: ink, axis_label_text_color: ink, axis_line_color: grid,
        major_tick_line_color: grid, minor_tick_line_color: null })
    }
    for (const line of plot.center) {
      if (line.type === "Grid") line.setv({ grid_line_color: grid })
    }
    const glyph = name => plot.renderers.find(each => each.name === name).glyph
    glyph("outline").setv({ line_color: { value: model.dark ? "#ffffff" : "#1f2933" } })
    glyph("labels").setv({ text_color: { value: model.dark ? "#f2f5f8" : "#1f2933" } })
    glyph("halos").setv({ text_color: { value: back }, text_outline_color: { value: back } })
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

  // -- hover ------------------------------------------------------------------------------------
  let rest = null, at = null, asked = 0
  function hideCard() {
    clearTimeout(rest)
    asked++
    card.hidden = true
  }
  function moved(event) {
    if (event.buttons) return hideCard()
    const { frame, el: canvas } = view.get_child_view(plot)
    const box = canvas.getBoundingClientRect()
    const [sx, sy] = [event.clientX - box.left, event.clientY - box.top]
    if (at !== null && Math.hypot(sx - at.sx, sy - at.sy) > 6) hideCard()
    clearTimeout(rest)
    if (!frame.bbox.contains(sx, sy)) return hideCard()
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
  function drawCard() {
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
  plot.document.event_manager.subscribed_models.add(plot)
  plot.on_event("selectiongeometry", ({ geometry: g, final }) => {
    if (!final) return
    const [x, y] = g.type === "rect"
      ? [[g.x0, g.x1, g.x1, g.x0], [g.y0, g.y0, g.y1, g.y1]] : [Array.from(g.x), Array.from(g.y)]
    model.send_msg({ kind: "region", x, y, pixel: pixel() })
  })

  // -- keys, focus ------------------------------------------------------------------------------
  const wheel = plot.toolbar.tools.find(tool => tool.name === "wheel")
  stage.addEventListener("pointerdown", event => {
    const isConcealed = !card.hidden && model.card.hidden
    concealed = isConcealed ? { at, px: event.clientX, py: event.clientY } : null
    hideCard()
    stage.focus({ preventScroll: true })
  }, true)
  stage.addEventListener("pointerup", reveal, true)
  stage.addEventListener("pointermove", moved)
  stage.addEventListener("pointerleave", hideCard)
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
  model.on("card", drawCard)
  model.on("go", () => { const [x0, x1, y0, y1] = model.go; show(x0, x1, y0, y1) })
  choose("lasso")
  for (const step of [drawTheme, drawColors, drawMethods, drawKey, drawWords, drawOutline, drawLabels]) step()
  drawPicture()
  extended()
  later()
}
