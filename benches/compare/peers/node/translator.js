// A hand-written gateway: node:http in front, an undici pool behind, one process.
import http from 'node:http';
import { Pool } from 'undici';
import canonical from '../canonical.mjs';

const PREFIX = '/conversations/';
const UPSTREAMS = {
    sms: { vendor: 'agentphone', key: process.env.SMS_KEY },
    support: { vendor: 'chatling', chatbotId: process.env.CHATBOT_ID, key: process.env.SUPPORT_KEY },
};
const pool = new Pool(process.env.VENDOR_ORIGIN, { connections: 128, pipelining: 1, headersTimeout: 10_000, bodyTimeout: 10_000 });

function send(response, { status, type, body }) {
    const bytes = Buffer.from(body);
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': bytes.length });
    response.end(bytes);
}

async function text(request) {
    const chunks = [];
    for await (const chunk of request) {
        chunks.push(chunk);
    }
    return (chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)).toString();
}

async function askVendor({ target, path, body }) {
    const headers = { authorization: `Bearer ${target.upstream.key}`, 'content-type': 'application/json', 'accept-encoding': 'identity' };
    try {
        const answer = await pool.request({ method: 'PATCH', path, headers, body });
        return canonical.fromVendor(target, answer.statusCode, await answer.body.text());
    } catch {
        return canonical.problem(502, 'vendor-unreachable', 'the vendor did not answer');
    }
}

async function answer(request) {
    if (!request.url.startsWith(PREFIX)) {
        return canonical.problem(404, 'not-found', 'there is nothing here');
    }
    if (request.method !== 'PATCH') {
        return canonical.problem(405, 'method-not-allowed', 'PATCH it');
    }
    const asked = canonical.toVendor(UPSTREAMS, request.url.slice(PREFIX.length), request.headers['content-type'], await text(request));
    return asked.problem ?? askVendor(asked);
}

http.createServer((request, response) => {
    answer(request).then((result) => send(response, result), () => response.destroy());
}).listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 1024 });
