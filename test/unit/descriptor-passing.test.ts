// SPDX-License-Identifier: MIT
import { execFileSync } from 'node:child_process';
import { fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { expect } from 'chai';
import { Descriptor, receiveDescriptors, sendDescriptors, socketPair } from 'exclusive-memory';
import { expectErrno, expectMisuse, thrown } from '../support/failures.js';
import { openFiles } from '../support/process.js';

const closeOnExec = (fd: number) =>
  /^flags:\s+0?2\d{6}/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));

describe('descriptor passing', () => {
  let files: number;
  let here: Descriptor;
  let there: Descriptor;
  beforeEach(() => {
    files = openFiles();
    [here, there] = socketPair();
  });
  afterEach(() => {
    here.close();
    there.close();
    expect(openFiles(), 'no descriptor leaked').to.equal(files);
  });

  function receive() {
    const message = receiveDescriptors(there, { timeoutMs: 1000 });
    if (!message) return expect.fail('the socket is closed');
    return message;
  }

  it('makes sockets that are close-on-exec', () => {
    expect([here.fd, there.fd].map(closeOnExec)).to.deep.equal([true, true]);
  });

  it('moves a descriptor and a payload', () => {
    using file = new Descriptor(openSync('/dev/zero', 'r'));
    sendDescriptors(here, [file], Buffer.from('hello'));
    const { payload, descriptors } = receive();
    expect(Buffer.from(payload).toString()).to.equal('hello');
    expect(descriptors).to.have.length(1);
    for (const descriptor of descriptors) {
      expect(descriptor.fd).not.to.equal(file.fd);
      expect(fstatSync(descriptor.fd).rdev).to.equal(fstatSync(file.fd).rdev);
      expect(closeOnExec(descriptor.fd)).to.equal(true);
      descriptor.close();
    }
  });

  it('keeps the order of many', () => {
    const [readEnd, writeEnd] = socketPair();
    sendDescriptors(here.fd, [readEnd, writeEnd.fd, readEnd]);
    const { payload, descriptors } = receive();
    expect([...payload]).to.deep.equal([0]);
    expect(descriptors.map(({ fd }) => fstatSync(fd).ino)).to.deep.equal(
      [readEnd, writeEnd, readEnd].map(({ fd }) => fstatSync(fd).ino),
    );
    for (const one of [readEnd, writeEnd, ...descriptors]) one.close();
  });

  it('moves as many as the kernel allows', () => {
    sendDescriptors(here, Array.from({ length: 253 }, () => here));
    const { descriptors } = receive();
    expect(descriptors).to.have.length(253);
    for (const descriptor of descriptors) descriptor.close();
  });

  it('keeps messages apart, with and without descriptors', () => {
    sendDescriptors(here, [], Buffer.from('one'));
    sendDescriptors(here, [here], Buffer.from('two'));
    const first = receive();
    const second = receive();
    expect([Buffer.from(first.payload).toString(), first.descriptors.length]).to.deep.equal(['one', 0]);
    expect([Buffer.from(second.payload).toString(), second.descriptors.length]).to.deep.equal(['two', 1]);
    for (const descriptor of second.descriptors) descriptor.close();
  });

  it('says when the other end is closed', () => {
    here.close();
    expect(receiveDescriptors(there)).to.equal(undefined);
    expectErrno(thrown(() => { sendDescriptors(there, []); }), 'EPIPE', 'sendmsg');
  });

  it('gives up after a while', () => {
    const start = performance.now();
    expectErrno(thrown(() => receiveDescriptors(there, { timeoutMs: 30 })), 'ETIMEDOUT', 'recvmsg');
    expect(performance.now() - start).to.be.within(29, 500);
  });

  it('closes the descriptors of a message that does not fit', () => {
    const python = [
      'import socket',
      's = socket.socket(fileno=3)',
      'socket.send_fds(s, [b"x" * 5000], [0, 1])',
    ].join('\n');
    execFileSync('python3', ['-c', python], { stdio: ['ignore', 'inherit', 'inherit', here.fd] });
    expectMisuse(thrown(receive), 'ERR_EXMEM_TRUNCATED', /at most 4096 bytes .* were closed/);
  });

  it('refuses what is no socket', () => {
    using file = new Descriptor(openSync('/dev/null', 'r'));
    expectErrno(thrown(() => { sendDescriptors(file, []); }), 'ENOTSOCK', 'sendmsg');
    expectErrno(thrown(() => receiveDescriptors(file)), 'ENOTSOCK', 'recvmsg');
  });

  it('refuses a descriptor that is not open, and sends nothing', () => {
    expectErrno(thrown(() => { sendDescriptors(here, [1_000_000]); }), 'EBADF', 'sendmsg');
    expectErrno(thrown(() => receiveDescriptors(there, { timeoutMs: 0 })), 'ETIMEDOUT', 'recvmsg');
  });

  it('speaks with Python', () => {
    const python = [
      'import os, socket',
      's = socket.socket(fileno=3)',
      'text, fds, _, _ = socket.recv_fds(s, 100, 4)',
      'os.write(fds[0], text)',
      'socket.send_fds(s, [b"back"], fds)',
    ].join('\n');
    const [readEnd, writeEnd] = socketPair();
    sendDescriptors(here, [writeEnd], Buffer.from('there'));
    execFileSync('python3', ['-c', python], { stdio: ['ignore', 'inherit', 'inherit', there.fd] });
    const buffer = Buffer.alloc(10);
    expect(buffer.toString('utf8', 0, readSync(readEnd.fd, buffer))).to.equal('there');
    const answer = receiveDescriptors(here, { timeoutMs: 1000 });
    expect(Buffer.from(answer?.payload ?? []).toString()).to.equal('back');
    expect(answer?.descriptors).to.have.length(1);
    for (const one of [readEnd, writeEnd, ...(answer?.descriptors ?? [])]) one.close();
  });
});
