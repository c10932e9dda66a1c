// Runs one scan job with node-soap, from nothing but the address of the service's WSDL.
//
// Usage: node job.js FOLDER <order.json
// FOLDER holds node_modules with soap; the order says wsdl, ca, certificate, key (files), user, process,
// instructions (XML) and pages (files). Prints one JSON object with what the server answered.
'use strict';

const fs = require('node:fs');
const https = require('node:https');
const path = require('node:path');
const { createRequire } = require('node:module');
const { randomUUID } = require('node:crypto');

const requireThere = createRequire(path.join(process.argv[2], 'package.json'));
const soap = requireThere('soap');

const WSA = 'http://schemas.xmlsoap.org/ws/2004/08/addressing';
const DSP = 'http://schemas.microsoft.com/windows/2008/12/wdp/distributedscan/processing';
const XOP = 'http://www.w3.org/2004/08/xop/include';

async function main() {
  const order = JSON.parse(fs.readFileSync(0, 'utf8'));
  const tls = { ca: fs.readFileSync(order.ca), cert: fs.readFileSync(order.certificate), key: fs.readFileSync(order.key) };
  const agent = new https.Agent({ ...tls, keepAlive: true });
  const client = await soap.createClientAsync(order.wsdl, {
    forceSoap12Headers: true,
    wsdl_options: { httpsAgent: agent },
  });
  client.setSecurity(new soap.ClientSSLSecurity(order.key, order.certificate, order.ca, { agent }));
  const address = Object.values(Object.values(client.wsdl.definitions.services)[0].ports)[0].location;
  const methods = Object.keys(Object.values(Object.values(client.describe())[0])[0]);

  // node-soap knows no WS-Addressing 2004/08: its headers are the caller's own.
  function call(name, args, options) {
    client.clearSoapHeaders();
    const header = (local, text) => client.addSoapHeader(`<wsa:${local} xmlns:wsa="${WSA}">${text}</wsa:${local}>`);
    header('To', address);
    header('Action', `${DSP}/${name}`);
    header('MessageID', `urn:uuid:${randomUUID()}`);
    return client[`${name}Async`](args, options);
  }

  const told = { version: requireThere('soap/package.json').version, node: process.version, address, methods };
  const [created] = await call('CreatePostScanJob', {
    UserIdentifier: order.user,
    PSP_Identifier: order.process,
    PostScanInstructions: { $xml: order.instructions },
  });
  const JobToken = created.JobToken;
  told.token = JobToken;
  told.sent = 0;
  for (const [index, page] of order.pages.entries()) {
    const body = fs.readFileSync(page);
    const contentId = `page-${index + 1}@node-soap`;
    await call('SendImage', {
      JobToken,
      DocumentDescription: { DocumentId: index + 1, Format: 'jfif' },
      ImageData: { $xml: `<xop:Include xmlns:xop="${XOP}" href="cid:${contentId}"/>` },
    }, { forceMTOM: true, attachments: [{ mimetype: 'image/jpeg', contentId, name: path.basename(page), body }] });
    told.sent += body.length;
  }
  await call('EndPostScanJob', { JobToken });
  const elements = () => call('GetPostScanJobElements', {
    JobToken,
    RequestedElements: { $xml: `<dsp:Name xmlns:dsp="${DSP}">dsp:JobStatus</dsp:Name>` },
  });
  const ended = new Set(['Completed', 'Aborted', 'Canceled']);
  const asked = Date.now();
  do {
    const [answer] = await elements();
    told.status = answer.JobElements.ElementData[0]?.JobStatus ?? answer.JobElements.ElementData.JobStatus;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (!ended.has(told.status.JobState) && Date.now() - asked < order.patience * 1000);

  try {
    await call('EndPostScanJob', { JobToken: randomUUID() });
  } catch (error) {
    told.fault = error.root?.Envelope?.Body?.Fault ?? String(error);
  }
  agent.destroy();
  process.stdout.write(JSON.stringify(told));
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n${error.body ?? ''}\n`);
  process.exit(1);
});
