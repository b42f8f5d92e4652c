// The translation itself, in the JavaScript that njs and Node both run: canonical patch to vendor request, vendor answer to canonical Conversation.

const MEMBERS = ['context', 'title', 'instructions', 'agent', 'contact', 'archived', 'important', 'vendor_fields'];
const READ_ONLY = ['id', 'vendor', 'upstream', 'status', 'created_at', 'updated_at', 'last_message_at', 'message_count', 'messages', 'vendor_data',
    'warnings'];
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|[+-]00:00)?$/;

function isObject(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function optional(isValid, code) {
    return function (value) {
        return value === null || isValid(value) ? null : code;
    };
}

function flag(value) {
    if (value === null) {
        return 'null-not-allowed';
    }
    return typeof value === 'boolean' ? null : 'wrong-type';
}

function reference(value) {
    if (value === null) {
        return 'null-not-allowed';
    }
    return isObject(value) && typeof value.id === 'string' && Object.keys(value).length === 1 ? null : 'wrong-type';
}

function isString(value) {
    return typeof value === 'string';
}

// RFC 3339 in UTC; undefined where the text is no time.
function utc(text) {
    if (typeof text !== 'string') {
        return undefined;
    }
    const inUtc = TIME.exec(text);
    if (inUtc) {
        return inUtc[1] + 'Z';
    }
    const time = new Date(text);
    return isNaN(time.getTime()) ? undefined : time.toISOString().replace('.000Z', 'Z');
}

// Puts `value` under `name` of the target, or the vendor's own under `key` of the rest where it could not be translated.
function put(target, name, value, rest, key, original) {
    if (value === undefined) {
        rest[key] = original;
    } else {
        target[name] = value;
    }
}

function withRest(target, rest) {
    for (const _ in rest) {
        target.vendor_data = rest;
        break;
    }
    return target;
}

const ROLE_OF_DIRECTION = { inbound: 'user', outbound: 'assistant' };
const ROLE_OF_CHATLING = { bot: 'assistant', user: 'user', system: 'system' };

function roleInto(message, role, rest, key, original) {
    message.role = role || 'other';
    if (!role) {
        rest[key] = original;
    }
}

function agentphoneMessage(source) {
    const message = {};
    const rest = {};
    const urls = [];
    for (const key in source) {
        const value = source[key];
        switch (key) {
        case 'id': message.id = value; break;
        case 'direction': roleInto(message, ROLE_OF_DIRECTION[value], rest, key, value); break;
        case 'body': message.text = value; break;
        case 'receivedAt': put(message, 'created_at', utc(value), rest, key, value); break;
        case 'mediaUrls': (value || []).forEach(function (url) { urls.push(url); }); break;
        case 'mediaUrl': if (value) { urls.push(value); } break;
        default: rest[key] = value;
        }
    }
    if (urls.length) {
        message.attachments = urls.filter((url, at) => urls.indexOf(url) === at).map((url) => ({ url: url }));
    }
    return withRest(message, rest);
}

function byTime(a, b) {
    if (a.created_at === b.created_at) {
        return 0;
    }
    return a.created_at < b.created_at ? -1 : 1;
}

function chatlingMessage(source) {
    const message = {};
    const rest = {};
    for (const key in source) {
        const value = source[key];
        switch (key) {
        case 'id': message.id = value; break;
        case 'role': roleInto(message, ROLE_OF_CHATLING[value], rest, key, value); break;
        case 'text': message.text = value; break;
        case 'created_at': put(message, 'created_at', utc(value), rest, key, value); break;
        default: rest[key] = value;
        }
    }
    return withRest(message, rest);
}

const ADAPTERS = {
    agentphone: {
        checks: { context: optional(isObject, 'wrong-type'), title: optional(isString, 'wrong-type') },

        path: function (upstream, id) {
            return '/v1/conversations/' + encodeURIComponent(id);
        },

        body: function (patch) {
            const body = {};
            if (patch.context !== undefined) {
                body.metadata = patch.context;
            }
            if (patch.title !== undefined) {
                body.group_name = patch.title;
            }
            return body;
        },

        conversation: function (conversation, answer, id) {
            const rest = {};
            for (const key in answer) {
                const value = answer[key];
                switch (key) {
                case 'id': if (value !== id) { rest.id = value; } break;
                case 'groupName': conversation.title = value; break;
                case 'metadata': conversation.context = value; break;
                case 'agentId': conversation.agent = value === null ? null : { id: value }; break;
                case 'participant': conversation.contact = { address: value }; break;
                case 'createdAt': put(conversation, 'created_at', utc(value), rest, key, value); break;
                case 'lastMessageAt': put(conversation, 'last_message_at', value === null ? null : utc(value), rest, key, value); break;
                case 'messageCount': conversation.message_count = value; break;
                case 'messages': conversation.messages = value.map(agentphoneMessage).sort(byTime); break;
                default: rest[key] = value;
                }
            }
            return withRest(conversation, rest);
        },
    },

    chatling: {
        checks: { contact: reference, archived: flag, important: flag },

        path: function (upstream, id) {
            return '/v2/chatbots/' + upstream.chatbotId + '/conversations/' + encodeURIComponent(id);
        },

        body: function (patch) {
            const body = {};
            if (patch.archived !== undefined) {
                body.archive = patch.archived;
            }
            if (patch.important !== undefined) {
                body.important = patch.important;
            }
            if (patch.contact !== undefined) {
                body.contact_id = patch.contact.id;
            }
            return body;
        },

        conversation: function (conversation, answer, id) {
            const rest = {};
            if (answer.status !== 'success') {
                throw new Error('the vendor reports an error in a 200');
            }
            for (const key in answer.data) {
                const value = answer.data[key];
                switch (key) {
                case 'id': if (value !== id) { rest.id = value; } break;
                case 'archived': conversation.archived = Boolean(value); break;
                case 'important': conversation.important = Boolean(value); break;
                case 'contact_id': conversation.contact = value === null ? null : { id: value }; break;
                case 'created_at': put(conversation, 'created_at', utc(value), rest, key, value); break;
                case 'messages': conversation.messages = value.map(chatlingMessage).reverse(); break;
                default: rest[key] = value;
                }
            }
            return withRest(conversation, rest);
        },
    },
};

function problem(status, code, detail, errors) {
    const body = { type: 'urn:parlance:problem:' + code, status: status, detail: detail };
    if (errors) {
        body.errors = errors;
    }
    return { status: status, type: 'application/problem+json', body: JSON.stringify(body) };
}

function faults(patch, adapter, vendor) {
    const found = [];
    Object.keys(patch).forEach(function (member) {
        const check = adapter.checks[member];
        let code;
        if (check) {
            code = check(patch[member]);
        } else if (MEMBERS.includes(member)) {
            code = 'unsupported-field';
        } else {
            code = READ_ONLY.includes(member) ? 'read-only-field' : 'unknown-field';
        }
        if (code) {
            found.push({ pointer: '/' + member, code: code, detail: '`' + member + '` cannot be sent to ' + vendor + ' like this' });
        }
    });
    if (!Object.keys(patch).length) {
        found.push({ pointer: '', code: 'empty-patch', detail: 'the patch sets nothing' });
    }
    return found;
}

// The vendor's request for `PATCH /conversations/{segment}`: `{problem}` or `{target, path, body}`.
function toVendor(upstreams, segment, contentType, text) {
    let id;
    try {
        id = decodeURIComponent(segment);
    } catch (e) {
        return { problem: problem(400, 'invalid-id', 'the id is not percent-encoded UTF-8') };
    }
    const colon = id.indexOf(':');
    const name = id.slice(0, colon);
    const upstream = colon > 0 && upstreams[name];
    if (!upstream) {
        return { problem: problem(404, 'no-route', 'the id names no configured upstream') };
    }
    const vendorId = id.slice(colon + 1);
    if (!vendorId || vendorId === '.' || vendorId === '..' || vendorId.length > 512) {
        return { problem: problem(400, 'invalid-id', 'the vendor id is empty, a dot segment or too long') };
    }
    if (!/^application\/(merge-patch\+)?json *(;|$)/.test(contentType || '')) {
        return { problem: problem(415, 'unsupported-media-type', 'send application/json') };
    }
    let patch;
    try {
        patch = JSON.parse(text);
    } catch (e) {
        return { problem: problem(400, 'malformed-json', 'the body is not JSON') };
    }
    const adapter = ADAPTERS[upstream.vendor];
    const found = isObject(patch) ? faults(patch, adapter, upstream.vendor) : [{ pointer: '', code: 'wrong-type', detail: 'the body is not an object' }];
    if (found.length) {
        return { problem: problem(422, 'invalid-patch', 'the patch cannot be sent to this vendor', found) };
    }
    return {
        target: { id: id, name: name, vendorId: vendorId, upstream: upstream },
        path: adapter.path(upstream, vendorId),
        body: JSON.stringify(adapter.body(patch)),
    };
}

// The gateway's answer to what the vendor answered: `{status, type, body}`.
function fromVendor(target, status, text) {
    if (status !== 200) {
        return status === 404 ? problem(404, 'conversation-not-found', 'the vendor does not know this conversation')
            : problem(502, 'vendor-error', 'the vendor answered ' + status);
    }
    const conversation = { id: target.id, vendor: target.upstream.vendor, upstream: target.name };
    try {
        ADAPTERS[target.upstream.vendor].conversation(conversation, JSON.parse(text), target.vendorId);
    } catch (e) {
        return problem(502, 'vendor-invalid-response', 'the vendor did not answer with a conversation');
    }
    return { status: 200, type: 'application/json', body: JSON.stringify(conversation) };
}

export default { toVendor, fromVendor, problem };
