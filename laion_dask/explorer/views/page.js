// The page: where each view is, the tabs at the right, and the colors, light or dark.

// JupyterLab says which theme it has; elsewhere the browser's preference counts.
function isDark() {
  const lab = document.body.dataset.jpThemeLight
  return lab ? lab === "false" : matchMedia("(prefers-color-scheme: dark)").matches
}

// The tabs: a list of buttons, and a panel for each of them.
function tabs(model) {
  const bar = element("div", { role: "tablist", class: "tablist", "aria-label": "Rows and tools" })
  const panels = element("div", { class: "panels" })
  const id = `ld-${Math.random().toString(36).slice(2)}`
  let titles = []
  const select = (at, focus) => {
    model.active = (at + titles.length) % titles.length
    show()
    if (focus) bar.children[model.active].focus()
  }
  // Hidden panels keep their size, so that a table or a figure in one is drawn as it should be.
  const show = () => titles.forEach((_, at) => {
    const isShown = at === model.active
    bar.children[at].setAttribute("aria-selected", String(isShown))
    bar.children[at].tabIndex = isShown ? 0 : -1
    panels.children[at].classList.toggle("shown", isShown)
  })
  const tab = (title, at) => element("button", {
    role: "tab", id: `${id}-tab-${at}`, "aria-controls": `${id}-panel-${at}`, text: title,
    onclick: () => select(at, false),
    onkeydown: (event) => {
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key]
      if (next === undefined) return
      select(next, true)
      event.preventDefault()
    },
  })
  const panel = (_, at) => element("div", {
    role: "tabpanel", id: `${id}-panel-${at}`, "aria-labelledby": `${id}-tab-${at}`, class: "panel",
  })
  model.on("active", show)
  const node = element("section", { class: "tabs", "aria-label": "Rows and tools" }, bar, panels)
  return {
    node,
    // Show the views of tabs; one that was not shown yet has none.
    arrange(wanted) {
      if (String(wanted.map((tab) => tab.title)) !== String(titles)) {
        titles = wanted.map((one) => one.title)
        bar.replaceChildren(...titles.map(tab))
        panels.replaceChildren(...titles.map(panel))
      }
      wanted.forEach((one, at) => settle(panels.children[at], one.view))
      node.hidden = titles.length === 0
      show()
    },
  }
}

// Put a child in its place, unless it is there: to move it would end a drag, and the focus.
function settle(place, child) {
  if (!child) place.replaceChildren()
  else if (place.firstElementChild !== child) place.replaceChildren(child)
}

// Bokeh 3.9 measures all figures when a page changes its size. If one of them is not drawn yet, such
// as the figure of a component, this fails, and the rest of the page keeps its old size.
function measureOnlyDrawnFigures() {
  const figures = window.Bokeh?.Models.get("Plot")?.prototype.default_view?.prototype
  for (const name of ["_measure_layout", "_after_layout"]) {
    const original = figures?.[name]
    if (!original || original.isGuarded) continue
    figures[name] = function () { if (this.layout) original.call(this) }
    figures[name].isGuarded = true
  }
}

// The parts of the page, by name, and the element that holds them.
function pageElements(model, takeBack) {
  const slots = {}
  const slot = (name) => (slots[name] = element("div", { class: `slot ${name}` }))
  const place = (where, label, name) =>
    element("section", { class: `place ${where}`, "aria-label": label }, slot(name))
  const notice = element("p", { class: "waiting", role: "status" })
  const back = element("button", { type: "button", class: "back", text: "Show it here", onclick: takeBack })
  const map = place("upper-left", "Map", "map"), tools = tabs(model)
  const body = element("div", { class: "body" }, map, tools.node,
    place("lower-left", "Distributions", "histograms"), place("lower-right", "Values", "bars"))
  const page = element(model.is_page ? "main" : "section", { class: "page", "aria-label": "Explorer" },
    element("h1", { class: "unseen", text: "Explorer" }), notice, back,
    slot("head"), slot("ask"), slot("chips"), body)
  page.classList.toggle("alone", model.is_page)
  tools.node.hidden = true
  return { page, notice, back, body, map, tools, slots }
}

// The layout, or null while some of its views are missing. They come in steps: first the head, then all that
// is shown when the sample is there, then those of other tabs.
function completeLayout(model) {
  const views = model.get_child("views") || []
  const { places, tabs } = JSON.parse(model.layout) || { places: {}, tabs: [] }
  const numbers = [...Object.values(places), ...tabs.map((tab) => tab.view).filter((at) => at !== null)]
  const isComplete = numbers.length > 0 && numbers.every((at) => views[at])
  return isComplete ? { places, tabs, views } : null
}

function arrange({ places, tabs: wanted, views }, { page, body, map, tools, slots }) {
  for (const [name, where] of Object.entries(slots)) settle(where, views[places[name]])
  tools.arrange(wanted.map(({ title, view }) => ({ title, view: view === null ? null : views[view] })))
  const isReady = Boolean(slots.bars.firstElementChild)
  slots.chips.hidden = body.hidden = !isReady
  slots.ask.hidden = !isReady || !slots.ask.firstElementChild
  map.hidden = !slots.map.firstElementChild
  page.classList.toggle("ready", isReady)
  body.classList.toggle("without-map", map.hidden)
  body.classList.toggle("without-tabs", tools.node.hidden)
}

const NOTICES = {
  waiting: "Loading…", here: "", elsewhere: "This explorer is shown in another tab.",
  silent: "The kernel does not answer. Once it is idle, run this cell again. To keep the selection, run " +
    "the name of the explorer in another cell instead.",
}

export function render({ model, view }) {
  measureOnlyDrawnFigures()
  const parts = pageElements(model, () => connection.take())
  const connection = pageConnection(model, view.model, (state) => {
    const isElsewhere = state === "elsewhere"
    setText(parts.notice, NOTICES[state])
    parts.notice.hidden = state === "here"
    parts.back.hidden = !isElsewhere
    if (isElsewhere) parts.page.classList.remove("ready")
    for (const part of [parts.slots.head, parts.slots.ask, parts.slots.chips, parts.body]) {
      part.hidden = state !== "here"
    }
  })
  const draw = () => {
    const layout = completeLayout(model)
    if (layout === null || !connection.hasViews()) return
    connection.placed()
    arrange(layout, parts)
    parts.page.classList.toggle("over", model.is_over)
    // Bokeh takes the models that it received for known once a message is sent. If one of them sent
    // that message, it would send itself as well, and Python would warn that it is known already.
    model.send_msg({ kind: "placed" })
  }
  model.on(["views", "is_over"], draw)
  connection.take()
  draw()
  followTheme(model, parts.page)
  return parts.page
}

function followTheme(model, page) {
  let wasShown = false
  const paint = () => {
    wasShown ||= page.isConnected
    if (wasShown && !page.isConnected) return stop()
    const dark = isDark()
    page.classList.toggle("dark", dark)
    if (model.dark !== dark) model.dark = dark
    if (!model.is_page) return
    Object.assign(document.body.style, { margin: "0", background: dark ? "#14181d" : "#ffffff" })
    document.documentElement.lang = "en"
  }
  const watcher = new MutationObserver(paint)
  const preference = matchMedia("(prefers-color-scheme: dark)")
  const stop = () => {
    watcher.disconnect()
    preference.removeEventListener("change", paint)
  }
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] })
  preference.addEventListener("change", paint)
  model.on("remove", stop)
  paint()
}
