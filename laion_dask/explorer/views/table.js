// The bar above the table, which is Panel's Tabulator.

// Tabulator makes its scrolling part focusable by Tab, which a child of a grid must not be. The
// checkboxes are focusable, and scroll it.
function mendGrid(el, tries = 20) {
  for (let root = el.getRootNode(); root; root = root.host?.getRootNode()) {
    const hosts = [...root.querySelectorAll("*")].filter(node => node.shadowRoot)
    const found = hosts.map(node => node.shadowRoot.querySelector(".tabulator-tableholder"))
    const holder = found.find(Boolean)
    if (holder) return holder.removeAttribute("tabindex")
  }
  if (tries) setTimeout(() => mendGrid(el, tries - 1), 500)
}

export function render({ model, el }) {
  const bar = pageBar(message => model.send_msg(message), "table")
  const root = element("div", { class: "table-component" }, bar.element, bar.empty)
  model.on("msg:custom", text => {
    bar.update(JSON.parse(text))
    mendGrid(el)
  })
  model.send_msg({ kind: "ready" })
  return root
}
