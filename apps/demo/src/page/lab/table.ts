import { make, setText } from '../dom.js'

/** A table whose cells are written only where they change. */
export function createTable(
  caption: string,
  columns: readonly string[],
): { element: HTMLElement; render(rows: readonly (readonly string[])[]): void } {
  const body = make('tbody')
  const head = make('tr', {}, ...columns.map((name) => make('th', { scope: 'col' }, name)))
  const element = make('table', {}, make('caption', {}, caption), make('thead', {}, head), body)
  return {
    element,
    render(rows) {
      while (body.childElementCount > rows.length) body.lastElementChild!.remove()
      rows.forEach((cells, i) => {
        const row =
          body.children[i] ??
          body.appendChild(
            make('tr', {}, ...cells.map((_, at) => (at === 0 ? make('th', { scope: 'row' }) : make('td')))),
          )
        cells.forEach((text, at) => setText(row.children[at]!, text))
      })
    },
  }
}
