// What is shown in place of a page whose rows are all hidden: why, and a button that shows them.

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
    setText(note, state.note)
    note.hidden = !state.note
    ways.replaceChildren(...state.ways.map(way))
    ways.hidden = !state.ways.length
    return false
  } }
}
