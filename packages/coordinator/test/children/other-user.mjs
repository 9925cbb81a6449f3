// @ts-nocheck
// A client of another user: other-user.mjs <socket> <uid> <gid> <groups> [<message as JSON>...]; prints what is answered to each,
// the hello first, as lines of JSON. It changes its user once everything is loaded, which that user may not be able to read.
import { clientConnection } from '@onecopy/protocol'
import { closeDescriptors, connectUnix } from '@onecopy/sharedarraybuffer-utils'

const [socket, uid, gid, groups, ...requests] = process.argv.slice(2)
process.setgroups(groups === '' ? [] : groups.split(',').map(Number))
process.setgid(Number(gid))
process.setuid(Number(uid))

const answers = []
let answered = () => {}
try {
  const connection = clientConnection(connectUnix(socket), {
    onMessage: (message, descriptors) => {
      closeDescriptors(descriptors)
      answers.push(message)
      answered()
    },
    onClose: () => answered(),
  })
  const next = async (message) => {
    const answer = new Promise((resolve) => {
      answered = resolve
    })
    connection.send(message)
    await answer
  }
  await next({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'other', software: 'test' })
  for (const [id, request] of requests.entries()) await next({ ...JSON.parse(request), id })
  connection.close()
} catch ({ message }) {
  answers.push({ type: message })
}
for (const answer of answers) console.log(JSON.stringify(answer))
