"""What many upstreams and rules cost a request."""

import contextlib
from dataclasses import dataclass, replace
from statistics import median

from harness.cases import Request
from harness.processes import Server, Upstream
from harness.report import number

from .plan import Plan
from .report import Claim, Verdict
from .rig import Load, Rig, chatling_case, upstream, verified

CONVERSATION = "8977617953"
MESSAGES = 2
TENANT = "tenant-last"

BOUND = 1.05
"""The noise of two processes that do the same."""


@dataclass(frozen=True)
class Way:
    """How a request comes to its upstream."""

    title: str
    path: str
    headers: dict[str, str]

    @property
    def lines(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())


WAYS = (
    Way("by the last rule's pattern", f"/conversations/{CONVERSATION}", {}),
    Way("by a header", f"/conversations/{CONVERSATION}", {"X-Tenant": TENANT}),
    Way("by {upstream}:{id}", f"/conversations/support:{CONVERSATION}", {}),
)


def rules(plan: Plan) -> str:
    """Rules for other ids and other tenants, half and half; the last two match."""
    lines = ["routes = ["]
    for rule in range((plan.routes - 2) // 2):
        other = f"u{rule % (plan.upstreams - 1):04}"
        lines.append(f'{{id="r{rule}_*",upstream="{other}"}},')
        lines.append(f'{{headers={{X-Tenant="t{rule}"}},upstream="{other}"}},')
    lines += [f'{{headers={{X-Tenant="{TENANT}"}},upstream="support"}},', f'{{id="{CONVERSATION[:5]}*",upstream="support"}},', "]\n"]
    return "\n".join(lines)


def loads(gateway: Server, vendor: Upstream) -> list[Load]:
    made = []
    for place, way in enumerate(WAYS):
        case = chatling_case(f"way-{place}", CONVERSATION, MESSAGES)
        case = replace(case, canonical=Request(way.path, case.canonical.body))
        made.append(Load.of(gateway, vendor, case, verified(gateway, case, way.headers), way.lines))
    return made


def measure(rig: Rig, plan: Plan) -> Claim:
    with contextlib.ExitStack() as running:
        vendor = running.enter_context(rig.vendor([chatling_case("routed", CONVERSATION, MESSAGES)]))
        one = rig.gateway("one-upstream", upstream(vendor.port), head='default_upstream = "support"\n')
        others = "".join(upstream(vendor.port, f"u{other:04}") for other in range(plan.upstreams - 1))
        many = rig.gateway("many-upstreams", upstream(vendor.port) + others, head=rules(plan))
        both = [running.enter_context(gateway) for gateway in (one, many)]
        pairs = list(zip(*(loads(gateway, vendor) for gateway in both), strict=True))
        for gateway in both:
            gateway.move_to(rig.load_core)
        for pair in pairs:
            for load in pair:
                load.cpu_us(plan.routes_seconds / 2)
        rounds = []
        for turn in range(plan.rounds):
            # Who is first takes turns.
            order = slice(None, None, -1 if turn % 2 else 1)
            rounds.append([[load.cpu_us(plan.routes_seconds) for load in pair[order]][order] for pair in pairs])

    rows = [["way", "1 upstream, no rule, us", f"{plan.upstreams:,} upstreams, {plan.routes:,} rules, us", "ratio"]]
    verdicts = []
    for place, way in enumerate(WAYS):
        few, lots = (median(each[place][which] for each in rounds) for which in (0, 1))
        ratio = median(each[place][1] / each[place][0] for each in rounds)
        rows.append([way.title, number(few), number(lots), f"{ratio:.3f}"])
        verdicts.append(Verdict(f"CPU {way.title}", f"{ratio:.3f} x", f"{BOUND} x", ratio <= BOUND))
    return Claim("CPU by upstreams and rules, for a request on one core", rows, verdicts)
