// What is shown in place of a page without rows: why, and a button that shows those that are hidden.

function emptyPage(send) {
  const why = make("p", "ld-why")
  why.setAttribute("role", "status")
  const show = button("", null, () => send({ kind: "hidden", shown: true }))
  show.className = "ld-show"
  const note = make("p", "muted")
  const ways = make("div", "ld-ways")
  const root = make("div", "ld-empty")
  root.append(why, show, note, ways)
  root.hidden = true

  function way({ text, code }) {
    const made = make("div")
    made.append(make("p", "", text), make("pre", "", code))
    return made
  }

  return { element: root, update(state) {
    const hadFocus = root.contains(root.getRootNode().activeElement)
    root.hidden = !state
    setText(why, state?.why ?? "")
    if (!state) return hadFocus
    setText(show, state.button)
    show.hidden = !state.button
    setText(note, state.note)
    note.hidden = !state.note
    ways.replaceChildren(...state.ways.map(way))
    ways.hidden = !state.ways.length
    return false
  } }
}
