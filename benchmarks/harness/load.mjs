// @ts-check
import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * @typedef {object} Answered
 * @property {number} startedMs performance.now() when the request was sent
 * @property {number} endedMs
 * @property {any} body null when the request failed
 */

/** Clients that ask a service again and again, each with a pause between an answer and its next request. */
export class Load {
  #agent
  #stopped = false
  /** @type {Promise<void>[]} */
  #clients
  /** @type {Answered[]} */
  #answers = []

  /**
   * @param {string} url
   * @param {{ clients: number, pauseMs: number }} options
   */
  constructor(url, { clients, pauseMs }) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: clients })
    this.#clients = Array.from({ length: clients }, () => this.#ask(url, pauseMs))
  }

  /** What was answered since the last time that somebody asked. */
  take() {
    return this.#answers.splice(0)
  }

  async stop() {
    this.#stopped = true
    await Promise.all(this.#clients)
    this.#agent.destroy()
  }

  /** @param {string} url @param {number} pauseMs */
  async #ask(url, pauseMs) {
    while (!this.#stopped) {
      const startedMs = performance.now()
      const body = await request(url, this.#agent).catch(() => null)
      this.#answers.push({ startedMs, endedMs: performance.now(), body })
      await sleep(pauseMs)
    }
  }
}

/**
 * @param {string} url
 * @param {Agent} agent
 * @returns {Promise<unknown>}
 */
function request(url, agent) {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      response.on('error', reject).on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text))
        else reject(new Error(`GET ${url}: ${response.statusCode} ${text}`))
      })
    }).on('error', reject)
  })
}
