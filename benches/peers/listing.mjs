// A directory listing by HTTP, as one writes it with Node and nothing else: read every directory, stat every file, as many
// at once as Node does, answer with names, sizes and times.
import { readdir, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'

const root = process.argv[2]

async function list(directory, prefix, found) {
  const below = []
  const files = []
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) below.push(entry.name)
    else if (entry.isFile()) files.push(entry.name)
  }
  const stats = await Promise.all(files.map((name) => stat(join(directory, name))))
  files.forEach((name, n) => found.push({ key: prefix + name, size: stats[n].size, lastModified: stats[n].mtime }))
  for (const name of below) await list(join(directory, name), prefix + name + '/', found)
  return found
}

const server = createServer(async (_request, response) => {
  const found = await list(root, '', [])
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(found))
})
server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`))
