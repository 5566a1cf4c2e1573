// SPDX-License-Identifier: MIT
// Started with one end of a channel. Answers each message with what it has
// written into the descriptors that came with it; "child" starts a child of its
// own, which tells whether it has the channel too.
import { execFileSync } from 'node:child_process';
import { readlinkSync, writeSync } from 'node:fs';
import { HandleChannel } from 'exclusive-memory';

const lookAround = `
  const open = require('node:fs').readdirSync('/proc/self/fd').some((fd) => {
    try { return require('node:fs').readlinkSync('/proc/self/fd/' + fd) === process.argv[1]; } catch { return false; }
  });
  process.stdout.write(open + ' ' + process.env.CHANNEL);`;

const framing = process.env.FRAMING as 'seqpacket';
const link = readlinkSync(`/proc/self/fd/${process.env.CHANNEL ?? ''}`);

await using channel = HandleChannel.inherited('CHANNEL', { framing });
for await (using message of channel) {
  const text = Buffer.from(message.payload).toString();
  if (text === 'child') {
    const answer = execFileSync(process.execPath, ['-e', lookAround, link], { encoding: 'utf8' });
    await channel.send(Buffer.from(answer));
    continue;
  }
  for (const { fd } of message.descriptors) writeSync(fd, text);
  await channel.send(Buffer.from(`${text} ${process.ppid === channel.peer.pid}`), message.descriptors);
}
