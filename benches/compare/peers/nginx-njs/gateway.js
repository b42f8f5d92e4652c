import canonical from 'canonical.mjs';

const PREFIX = '/conversations/';
const UPSTREAMS = {
    sms: { vendor: 'agentphone' },
    support: { vendor: 'chatling', chatbotId: '@CHATBOT_ID@' },
};

function send(r, answer) {
    r.headersOut['Content-Type'] = answer.type;
    r.return(answer.status, answer.body);
}

async function patch(r) {
    if (r.method !== 'PATCH') {
        send(r, canonical.problem(405, 'method-not-allowed', 'PATCH it'));
        return;
    }
    const segment = r.variables.request_uri.slice(PREFIX.length);
    const asked = canonical.toVendor(UPSTREAMS, segment, r.headersIn['Content-Type'], r.requestText);
    if (asked.problem) {
        send(r, asked.problem);
        return;
    }
    const reply = await r.subrequest('/vendor/' + asked.target.name + asked.path, { method: 'PATCH', body: asked.body });
    send(r, canonical.fromVendor(asked.target, reply.status, reply.responseText));
}

export default { patch };
