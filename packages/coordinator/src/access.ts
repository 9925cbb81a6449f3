import type { PeerCredentials } from '@onecopy/sharedarraybuffer-utils'

/** Who may do what, beside the coordinator's own user and root, who may do everything. */
export interface AccessOptions {
  /** User ids whose processes may attach, select, follow and ask for the status: readers. @default none */
  readonly allowedUids?: readonly number[]
  /** Group ids whose members may do so. @default none */
  readonly allowedGids?: readonly number[]
  /** A group whose members may do so, and to whom the socket is given, so that nobody else may even connect. @default none */
  readonly socketGroup?: number
  /** User ids whose processes may publish and retire as well. @default none */
  readonly publisherUids?: readonly number[]
  /** Group ids whose members may do so. @default none */
  readonly publisherGids?: readonly number[]
}

/** What a client may do: a publisher everything, a reader what changes nothing for others. */
export type Role = 'reader' | 'publisher'

/** Who may do what. */
export class Access {
  /** Users that may connect. */
  readonly uids: readonly number[]
  /** Groups that may. */
  readonly gids: readonly number[]
  /** The only group that may, beside this user and root; null when there are others. */
  readonly onlyGroup: number | null
  readonly #publisherUids: readonly number[]
  readonly #publisherGids: readonly number[]

  constructor({
    allowedUids = [],
    allowedGids = [],
    socketGroup,
    publisherUids = [],
    publisherGids = [],
  }: AccessOptions) {
    const own = [0, process.geteuid?.() ?? 0]
    const group = socketGroup === undefined ? [] : [socketGroup]
    this.#publisherUids = [...new Set([...own, ...publisherUids])]
    this.#publisherGids = [...new Set(publisherGids)]
    this.uids = [...new Set([...this.#publisherUids, ...allowedUids])]
    this.gids = [...new Set([...group, ...allowedGids, ...publisherGids])]
    const others = this.others
    this.onlyGroup =
      socketGroup !== undefined && others.uids.length === 0 && others.gids.length === 1 ? socketGroup : null
  }

  /** Whom nothing but these options lets in: neither this user nor root. */
  get others(): { readonly uids: readonly number[]; readonly gids: readonly number[] } {
    const own = process.geteuid?.() ?? 0
    return { uids: this.uids.filter((uid) => uid !== 0 && uid !== own), gids: this.gids }
  }

  /** Null: none. */
  roleOf({ uid, gid, groups }: PeerCredentials): Role | null {
    const inOneOf = (gids: readonly number[]): boolean => [gid, ...groups].some((group) => gids.includes(group))
    if (this.#publisherUids.includes(uid) || inOneOf(this.#publisherGids)) return 'publisher'
    return this.uids.includes(uid) || inOneOf(this.gids) ? 'reader' : null
  }

  /** As a message tells it. */
  toString(): string {
    const groups = this.gids.length === 0 ? '' : `, groups ${this.gids.join(', ')}`
    return `users ${this.uids.join(', ')}${groups}`
  }

  /** Publishers alone. */
  get publishers(): string {
    const groups = this.#publisherGids.length === 0 ? '' : `, groups ${this.#publisherGids.join(', ')}`
    return `users ${this.#publisherUids.join(', ')}${groups}`
  }
}
