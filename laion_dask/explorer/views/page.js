// The page: where each view is, the tabs at the right, and the colors, light or dark.

// JupyterLab says which theme it has; elsewhere the browser's preference counts.
function isDark() {
  const lab = document.body.dataset.jpThemeLight
  return lab ? lab === "false" : matchMedia("(prefers-color-scheme: dark)").matches
}

const slot = (name, child) => element("div", { class: `slot ${name}` }, ...(child ? [child] : []))

function tabs(model, titles, children) {
  const bar = element("div", { role: "tablist", class: "tablist", "aria-label": "Rows and tools" })
  const panels = element("div", { class: "panels" })
  const select = (at, focus) => {
    const last = titles.length - 1
    const chosen = at < 0 ? last : at > last ? 0 : at
    model.active = chosen
    show()
    if (focus) bar.children[chosen].focus()
  }
  const id = `ld-${Math.random().toString(36).slice(2)}`
  titles.forEach((title, at) => {
    const tab = element("button", {
      role: "tab", id: `${id}-tab-${at}`, "aria-controls": `${id}-panel-${at}`, text: title,
      onclick: () => select(at, false),
      onkeydown: (event) => {
        const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: titles.length - 1 }[event.key]
        if (next === undefined) return
        select(next, true)
        event.preventDefault()
      },
    })
    bar.append(tab)
    panels.append(element("div", {
      role: "tabpanel", id: `${id}-panel-${at}`, "aria-labelledby": `${id}-tab-${at}`, class: "panel",
    }, children[at]))
  })
  // Hidden panels keep their size, so that a table or a figure in one is drawn as it should be.
  const show = () => titles.forEach((_, at) => {
    const isShown = at === model.active
    bar.children[at].setAttribute("aria-selected", String(isShown))
    bar.children[at].tabIndex = isShown ? 0 : -1
    panels.children[at].classList.toggle("shown", isShown)
  })
  model.on("active", show)
  show()
  return element("section", { class: "tabs", "aria-label": "Rows and tools" }, bar, panels)
}

// Panel calls it again when a child has been set, which happens once: when the sample is there.
export function render({ model }) {
  const names = ["head", "ask", "chips", "map", "histograms", "bars"]
  const child = Object.fromEntries(names.map((name) => [name, model.get_child(name)]))
  const panels = model.get_child("panels") || []
  const titles = JSON.parse(model.titles)
  const isReady = Boolean(child.histograms && child.bars && panels.length >= titles.length)
  const page = element(model.is_page ? "main" : "section", { class: "page", "aria-label": "Explorer" },
    element("h1", { class: "unseen", text: "Explorer" }), slot("head", child.head))
  page.classList.toggle("alone", model.is_page)
  page.classList.toggle("ready", isReady)
  if (isReady) {
    const place = (name, label, key) =>
      element("section", { class: `place ${name}`, "aria-label": label }, slot(key, child[key]))
    const body = element("div", { class: "body" },
      ...(child.map ? [place("upper-left", "Map", "map")] : []),
      place("lower-left", "Distributions", "histograms"), place("lower-right", "Values", "bars"),
      ...(titles.length ? [tabs(model, titles, panels)] : []))
    body.classList.toggle("without-map", !child.map)
    body.classList.toggle("without-tabs", !titles.length)
    page.append(...(child.ask ? [slot("ask-bar", child.ask)] : []), slot("chips", child.chips), body)
  }
  followTheme(model, page)
  return page
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
