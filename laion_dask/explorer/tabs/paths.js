// Paths typed by the user. Relative ones refer to Python's current folder.

const isWhole = (path) => !path || /^([/~\\]|[A-Za-z]:)/.test(path) || path.includes("://")

// A line below a field that says which folder or file its text means.
function wholePath(input) {
  const line = element("p", { class: "muted path" })
  line.write = (here) => {
    const path = input.value.trim()
    line.here = here ?? line.here ?? ""
    setText(line, isWhole(path) ? "" : `${line.here}${path}`)
    line.hidden = isWhole(path)
  }
  input.addEventListener("input", () => line.write())
  return line
}

// Scroll a tab, and nothing around it, until a node in it is in view.
function showIn(tab, node) {
  const below = node.getBoundingClientRect().bottom - tab.getBoundingClientRect().bottom
  if (below > 0) tab.scrollTop += below + 4
}
