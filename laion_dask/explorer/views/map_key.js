// What the colors mean.

function classList(items) {
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
  return list
}

function colorScale(colors, ticks) {
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
  return scale
}

function writeKey(key, { kind, title, note, colors = [], ticks = [], items = [] }) {
  key.classList.toggle("ld-map-classes", kind === "classes")
  key.replaceChildren(make("span", "ld-map-key-title", title))
  if (kind === "classes") key.append(classList(items))
  else if (ticks.length) key.append(colorScale(colors, ticks))
  // An empty note keeps its space, so that a selection does not change the size of the map.
  key.append(make("span", "ld-map-note", note))
}
