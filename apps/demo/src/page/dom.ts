/** The element of that id. @throws Error when the page and the script do not fit together */
export function byId<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const element = document.getElementById(id)
  if (!element) throw new Error(`the page has no #${id}`)
  return element as Kind
}

/** Writes only what is new, so that nothing is laid out or read out twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** Makes an element with attributes and children. Text stays text, whatever is in it. */
export function make(
  tag: string,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElement {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** Shows a sentence where one belongs, or hides the place. */
export function showProblem(place: HTMLElement, text: string | undefined): void {
  place.hidden = text === undefined
  setText(place, text ?? '')
}
