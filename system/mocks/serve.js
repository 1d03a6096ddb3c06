'use strict';
// Serves contracts with Prism, each on its port, in one process: loading Prism takes a second of
// processor time and 150 MB, which nine processes would take nine times.
//
// node serve.js FOLDER OPTIONS
//   FOLDER   has node_modules with @stoplight/prism-cli
//   OPTIONS  JSON: {"host": "127.0.0.1", "dynamic": false, "servers": [{"port": 4014, "document": "..."}]}
//
// A port that is taken, or a document that cannot be read, ends the process with status 1 and one
// line on standard error. Requests are not logged.

const { createRequire } = require('node:module');
const path = require('node:path');

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const fromCommand = createRequire(
  createRequire(path.join(folder, 'package.json')).resolve('@stoplight/prism-cli/package.json'),
);
const { createLogger } = fromCommand('@stoplight/prism-core');
const { getHttpOperationsFromSpec } = fromCommand('@stoplight/prism-http');
const { createServer } = fromCommand('@stoplight/prism-http-server');

// As `prism mock` does. The mode can be another one for a single request: `Prefer: dynamic=true`.
const config = {
  isProxy: false,
  validateRequest: true,
  validateResponse: true,
  checkSecurity: true,
  errors: false,
  upstreamProxy: undefined,
  mock: { dynamic: options.dynamic, ignoreExamples: false },
};

// Prism reads `format: int64` as the whole numbers that JavaScript keeps exactly, and would refuse
// the ids of some vendors, which are larger. Its limits are removed; those of a contract stay.
function allowLargeNumbers(node, seen = new Set()) {
  if (node === null || typeof node !== 'object' || seen.has(node)) {
    return;
  }
  seen.add(node);
  if (node.format === 'int64') {
    if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
    if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
  }
  Object.values(node).forEach((child) => allowLargeNumbers(child, seen));
}

async function serve({ port, document }) {
  const operations = await getHttpOperationsFromSpec(document);
  allowLargeNumbers(operations);
  const logger = createLogger('mock', { level: 'silent' });
  const server = createServer(operations, { cors: false, config, components: { logger } });
  await server.listen(port, options.host);
}

async function main() {
  for (const server of options.servers) {
    try {
      await serve(server);
    } catch (error) {
      console.error(`port ${server.port}: ${error.message ?? error}`);
      process.exit(1);
    }
  }
}

main();
