// An SMSC made with the npm package "smpp". It prints the port it listens on, then one line of JSON for each PDU.
// The first submission of each number that ends in 8 is throttled; a receipt follows where one was asked for.
const smpp = require('smpp');
const throttled = new Set();
let id = 0;

function octets(message) {
  // The package gives the header's elements without the length in front of them.
  const elements = message.udh ? Buffer.concat([].concat(message.udh).map((b) => Buffer.from(b))) : null;
  const udh = elements ? Buffer.concat([Buffer.from([elements.length]), elements]) : Buffer.alloc(0);
  const text = Buffer.isBuffer(message.message) ? message.message : Buffer.from(message.message || '');
  return { udh: udh.toString('hex'), text: text.toString('hex') };
}

const server = smpp.createServer({}, (session) => {
  session.on('error', () => {});
  session.on('pdu', (pdu) => {
    const line = { command: pdu.command, system_id: pdu.system_id, to: pdu.destination_addr, esm: pdu.esm_class, coding: pdu.data_coding };
    if (pdu.short_message) Object.assign(line, octets(pdu.short_message));
    console.log(JSON.stringify(line));
    if (pdu.command === 'submit_sm') {
      if (pdu.destination_addr.endsWith('8') && !throttled.has(pdu.destination_addr)) {
        throttled.add(pdu.destination_addr);
        session.send(pdu.response({ command_status: 0x58 }));
        return;
      }
      id += 1;
      session.send(pdu.response({ message_id: (0xab00 + id).toString(16) }));
      if (pdu.registered_delivery & 1) {
        session.deliver_sm({ esm_class: 4, source_addr: pdu.destination_addr, destination_addr: pdu.source_addr,
          short_message: `id:${0xab00 + id} sub:001 dlvrd:001 submit date:2611221200 done date:2611221200 stat:DELIVRD err:000 text:` });
      }
      return;
    }
    if (pdu.command === 'unbind') {
      session.send(pdu.response());
      session.close();
      return;
    }
    if (!pdu.isResponse()) session.send(pdu.response({ system_id: 'npm' }));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
