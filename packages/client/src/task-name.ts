/** Which function of which module runs a task. */
export interface TaskName {
  /** Of the export. */
  readonly name: string
  /** Of the module. */
  readonly url: string
}

/** As one text, which piscina hands to the threads as the name of an export of `task-loader`. */
export function formatTaskName({ name, url }: TaskName): string {
  return `${name} ${url}`
}

/** A name may hold spaces, a URL cannot. */
export function parseTaskName(text: string): TaskName {
  const space = text.lastIndexOf(' ')
  return { name: text.slice(0, space), url: text.slice(space + 1) }
}
