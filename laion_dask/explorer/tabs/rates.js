// Rates of two sets side by side, with their intervals; a section for each kind.

function interval(first, second) {
  const shown = [first, second].filter((one) => one.rate != null)
  const picture = drawn("svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true", class: "interval" })
  const top = Math.max(1e-6, ...shown.map((one) => one.hi))
  ;[first, second].forEach((one, at) => {
    if (one.rate == null) return
    const y = 6 + 8 * at, x = (rate) => 98 * rate / top + 1
    picture.append(
      drawn("line", { x1: x(one.lo), x2: x(one.hi), y1: y, y2: y, class: `of set${at}` }),
      drawn("line", { x1: x(one.rate), x2: x(one.rate), y1: y - 3.5, y2: y + 3.5, class: `of set${at}` }))
  })
  return picture
}

// A number and its interval, between which a narrow column breaks the line.
function withInterval(text) {
  const at = text.indexOf(" [")
  if (at < 0) return [element("span", { text })]
  return [element("span", { class: "number", text: text.slice(0, at) }), " ",
    element("span", { class: "number", text: text.slice(at + 1) })]
}

function rate(one) {
  const cell = element("td", {}, ...withInterval(one.text))
  if (one.rate == null) cell.classList.add("muted")
  else cell.title = one.of
  return cell
}

function difference(one) {
  if (!one) return element("td", { class: "number muted", text: "–" })
  const words = { more: "more", less: "less", inconclusive: "unclear" }
  return element("td", { class: one.verdict }, ...withInterval(one.text), " ",
    element("span", { class: "verdict", text: words[one.verdict] }))
}

function ratesSection(section) {
  const title = element("tr", { class: "title" },
    element("th", { scope: "rowgroup", text: section.title, title: section.title }),
    ...section.of.map((text) => element("td", { class: "muted number", text })),
    element("td", { class: "muted", colspan: "2", text: section.note }))
  const rows = section.rows.map((row) => element("tr", {},
    element("th", { scope: "row", text: row.label, title: row.label }),
    rate(row.first), rate(row.second),
    element("td", { class: "picture" }, interval(row.first, row.second)),
    difference(row.difference)))
  return element("tbody", {}, title, ...rows)
}

// A place for sections that are replaced together; where the reader has scrolled to stays.
function ratesPlace() {
  const heads = ["rate in %", "", "", "", "difference in points"]
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col", text })))
  const node = element("table", { class: "rates" }, element("thead", {}, head))
  return {
    node,
    write(sections, names) {
      names.forEach((name, at) => { setText(head.children[at + 1], name); head.children[at + 1].title = name })
      setText(head.children[3], "intervals")
      node.replaceChildren(node.firstElementChild, ...sections.map(ratesSection))
      node.hidden = !sections.length
    },
  }
}
