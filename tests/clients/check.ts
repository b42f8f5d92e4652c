// Uses the generated types with openapi-fetch, and nothing else, against a gateway: node check.js URL ID...

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./parlance.js";

type Conversation = components["schemas"]["Conversation"];
type DryRun = components["schemas"]["DryRun"];
type Confirmation = components["schemas"]["Confirmation"];
type Problem = components["schemas"]["Problem"];
type Context = components["schemas"]["Context"];
type ContextMergePatch = components["schemas"]["ContextMergePatch"];

const [url, ...ids] = process.argv.slice(2);
assert(url !== undefined && ids.length > 0, "usage: check.js URL ID...");
const client = createClient<paths>({ baseUrl: url });
let checks = 0;

function equal(actual: unknown, expected: unknown) {
  checks += 1;
  assert.deepEqual(actual, expected);
}

// No error has a body if the request's head was too large.
type Answer = { data?: Conversation | DryRun | Confirmation | undefined; error?: Problem | undefined; response: Response };

// The types tell the three bodies of a 200 apart.
function conversation({ data, error }: Answer): Conversation {
  assert(data !== undefined && !("dry_run" in data) && "vendor" in data, JSON.stringify(data ?? error));
  return data;
}

function dryRun({ data, error }: Answer): DryRun {
  assert(data !== undefined && "dry_run" in data, JSON.stringify(data ?? error));
  return data;
}

function problem({ data, error }: Answer): Problem {
  assert(error !== undefined, JSON.stringify(data));
  return error;
}

type Headers = NonNullable<paths["/conversations/{id}"]["patch"]["parameters"]["header"]>;

// The default media type, application/json: a context replaces the stored one.
function replace(id: string, context: Context, header: Headers = {}, query: { dry_run?: boolean } = {}) {
  return client.PATCH("/conversations/{id}", { params: { path: { id }, header, query }, body: { context } });
}

// The other media type is chosen by its name.
function merge(id: string, context: ContextMergePatch) {
  return client.PATCH("/conversations/{id}", {
    params: { path: { id } },
    headers: { "Content-Type": "application/merge-patch+json" },
    body: { context },
  });
}

function read(id: string, header: { "If-None-Match"?: string } = {}) {
  return client.GET("/conversations/{id}", { params: { path: { id }, header } });
}

async function check(id: string) {
  // An update replaces.
  conversation(await replace(id, { first: "1", second: "2" }));
  equal(conversation(await replace(id, { third: "3", fourth: "4" })).context, { third: "3", fourth: "4" });
  equal(conversation(await read(id)).context, { third: "3", fourth: "4" });

  // A merge patch merges; null removes.
  equal(conversation(await merge(id, { third: null, fifth: "5" })).context, { fourth: "4", fifth: "5" });
  equal(conversation(await read(id)).context, { fourth: "4", fifth: "5" });

  // A dry run is told apart, and changes nothing.
  const shown = dryRun(await replace(id, { sixth: "6" }, {}, { dry_run: true }));
  equal([shown.dry_run, shown.id, shown.vendor], [true, id, id.split(":")[0]]);
  equal(Object.values(shown.request.headers).includes("***"), true);
  equal(JSON.stringify(shown.request.body).includes("sixth"), true);

  // A read has a tag, by which it is not sent again.
  const current = await read(id);
  const tag = current.response.headers.get("etag");
  assert(tag !== null);
  equal(conversation(current).context, { fourth: "4", fifth: "5" });
  equal((await read(id, { "If-None-Match": tag })).response.status, 304);

  // The tag is a condition of an update, until there is another one.
  equal(conversation(await replace(id, { seventh: "7" }, { "If-Match": tag })).context, { seventh: "7" });
  const stale = await replace(id, { eighth: "8" }, { "If-Match": tag });
  const failed = problem(stale);
  equal([stale.response.status, failed.type], [412, "urn:parlance:problem:precondition-failed"]);
  equal([failed.retryable, failed.update_applied], [false, "no"]);
  equal(conversation(await read(id)).context, { seventh: "7" });

  // A repeated key gives the stored answer.
  const keyed = { "Idempotency-Key": `typescript-key-of-${id}` };
  const first = await replace(id, { ninth: "9" }, keyed);
  const replay = await replace(id, { ninth: "9" }, keyed);
  equal(replay.response.headers.get("idempotent-replayed"), "true");
  equal(conversation(replay), conversation(first));

  // A refused update names every fault.
  const refused = await client.PATCH("/conversations/{id}", {
    params: { path: { id } },
    body: { title: "t".repeat(501), vendor_fields: { x: 1 } },
  });
  const faults = problem(refused);
  equal([refused.response.status, faults.type], [422, "urn:parlance:problem:invalid-patch"]);
  equal(faults.errors?.find((fault) => fault.pointer === "/vendor_fields")?.code, "vendor-field-refused");
  equal(conversation(await read(id)).context, { ninth: "9" });

  // A member that the document does not have is a fault for the compiler, not only for the gateway.
  // @ts-expect-error there is no such member
  const body: components["schemas"]["ConversationUpdate"] = { titel: "t" };
  equal(problem(await client.PATCH("/conversations/{id}", { params: { path: { id } }, body })).errors?.[0]?.code, "unknown-field");
}

for (const id of ids) await check(id);
console.log(`typescript client: ${checks} checks with ${ids.length} vendors`);
