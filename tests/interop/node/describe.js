// Loads a WSDL with node-soap and prints the names of its operations as a JSON list.
//
// Usage: node describe.js FOLDER WSDL CA
// FOLDER holds node_modules with soap, WSDL is an https address, CA a file.
'use strict';

const fs = require('node:fs');
const https = require('node:https');
const path = require('node:path');
const { createRequire } = require('node:module');

const [folder, wsdl, ca] = process.argv.slice(2);
const soap = createRequire(path.join(folder, 'package.json'))('soap');
const httpsAgent = new https.Agent({ ca: fs.readFileSync(ca) });

soap.createClientAsync(wsdl, { wsdl_options: { httpsAgent } }).then((client) => {
  const [service] = Object.values(client.describe());
  const [port] = Object.values(service);
  process.stdout.write(JSON.stringify(Object.keys(port)));
  httpsAgent.destroy();
}, (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
