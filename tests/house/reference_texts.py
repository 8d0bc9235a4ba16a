"""What the reference says about options, errors, settings and telemetry that the code itself does not say in one line.

A name that the code has and this module lacks fails ``test_house_reference.py``, and so does the reverse.
"""

from __future__ import annotations

OPTIONS: dict[str, dict[str, str]] = {
    "governed": {
        "action_type": "The category of the action, such as `refund` or `database_write`. Policies match on it.",
        "tool_name": "The tool or service that is used. Default: the function's name.",
        "resource": 'What the call acts on: a string, a template such as `"orders/{order_id}"`, or a callable that '
        "receives the named arguments. Policies match on it.",
        "resource_id": "The identifier of the resource, in the same three forms.",
        "risk_level": "`low`, `medium`, `high` or `critical`. Policies see it as `risk.indicators.risk_level`; it does not "
        "change the score.",
        "risk_indicators": "Named values that raise the risk score, such as `pii` or `irreversible`. See "
        "[risk](policies.md#risk).",
        "context": "Named values that policies see as `context`, merged over those of the scope.",
        "redact": "Argument names that never leave the call: `note` (a parameter, and any key of that name), `card.number` "
        "(a key inside a parameter), `*.number` (that key anywhere). Names that look secret are redacted anyway.",
        "exclude": "Parameters that the tool receives and that are left out of the decision and of every record; their "
        "names are recorded. For sessions, connections and other handles.",
        "timeout": "Seconds to wait for a person. Default: as long as the approval is open.",
        "model_id": "The model that made the call. Recorded, and checked where models are registered.",
        "mcp_server_name": "The MCP server that the tool belongs to.",
        "orchestration_session_id": "Links a root call to a session of several agents. Nested governed calls are linked "
        "without it.",
        "parent_action_id": "The action that this call is part of. Nested governed calls are linked without it.",
        "control_plane": "Decides instead of the configured default.",
        "on_pending": "`wait`: wait for a person. `raise`: raise `ActionPendingError`; the same call made later resumes "
        "the action.",
        "on_denied": "`raise`: a blocked call raises its `AscendError`. `return`: it returns a text for the model as the "
        "result. A `ConfigurationError` is raised in both cases. Streams cannot use `return`.",
        "vouch_for": "Decorators below `@governed` that pass their arguments on unchanged. Recorded with each action.",
    },
    "guard": {
        "tool_name": "The tool or service that is used. Default: the action type.",
        "resource": "What the block acts on: a string, or a callable that receives `parameters` by name. Give a callable "
        "where approvers may edit, because a fixed text may not be true of the edited call.",
        "resource_id": "The identifier of the resource, in the same two forms.",
        "parameters": "What the block acts with, by name. The approval holds for these values. Read them back from "
        "`permit.parameters`, because an approver may have edited them.",
    },
    "scope": {
        "agent_id": "The agent that makes the calls.",
        "agent_name": "Its name for people. Default: the id.",
        "session_id": "The conversation or run that the calls belong to.",
        "context": "Named values that policies see as `context`, merged over those of the outer scope.",
    },
    "configure": {
        "control_plane": "A control plane that was built in code; it decides as it is, whatever else is given.",
        "waiting": "How a call that waits for a person is reported: `terminal`, `log` or `off`.",
        "policy": "Path of a policy file: calls are decided in this process.",
        "database_url": "`sqlite:///path` or `postgresql://user:password@host/database`. Default: `.ascend/ascend.db` "
        "beside the policy file.",
        "secret_key": "The key of PostgreSQL's audit trail: 64 hexadecimal digits. Default: a key file in `.ascend/` beside "
        "the policy file.",
        "durability": "SQLite only. `power`: a commit survives a power failure. `process`: it survives the end of the "
        "process, and is faster. Default: `power`.",
        "agent_id": "The agent that calls are made for, unless a scope names one. Default: `default-agent`.",
        "agent_name": "Its name for people. Default: the id.",
        "api_key": "An API key: calls are decided by a server. Begins with `owkai_` or `ask_`.",
        "api_url": "The server: `https://...`, or `http://` on this machine. Default: `https://pilot.owkai.app`.",
    },
}
"""By entry point and option. ``guard`` shares the options of ``governed``, so only its own are here."""

REMEDIES: dict[str, str] = {
    "AscendError": "Catch a more specific class first; `error.remedy` says what an operator can do.",
    "ConfigurationError": "Correct the argument, file or environment variable that the message names. "
    "`ascend-guard doctor` checks what is configured.",
    "PolicyError": "Correct the line that the message names, and run `ascend-guard policy check FILE`.",
    "ValidationError": "Change the call: smaller arguments, plain data, or `exclude=` for a parameter that is no data.",
    "AuthenticationError": "Check `ASCEND_API_KEY`. `ascend-guard keys create` on the server makes a new key.",
    "AuthorizationDeniedError": "Read the reason and the rule in the message; `ascend-guard actions show ID` shows the "
    "decision. After a person's denial, an operator can end it.",
    "KillSwitchError": "`ascend-guard kill-switch status` says who is stopped and why. A person turns the switch off.",
    "AlreadyRanError": "Do not repeat the call. `ascend-guard actions show ID` shows how it ended.",
    "ActionPendingError": "Have a person decide, then make the same call again.",
    "TimeoutError": "Have a person decide, then make the same call again; or raise `timeout`.",
    "RateLimitError": "Wait `error.retry_after` seconds, or give the organization a higher tier.",
    "NetworkError": "Check `ASCEND_API_URL`, DNS, the proxy and the certificate.",
    "NotFoundError": "Check the identifier, and that the key or token belongs to the same organization.",
    "ConflictError": "Read the current state of the action; make a new call if you need another run. "
    "A name that exists: choose another. A used `Idempotency-Key`: use a new one for each request.",
    "ServerError": "Look at the log of the server; `GET /ready` and `ascend-guard doctor` say what is wrong.",
    "StoreError": "Follow the message: free the disk, correct the permissions, or stop the process that holds the lock.",
}
"""What to do about each error of the tree, by its class name."""

SETTINGS: dict[str, tuple[str, str]] = {
    "ASCEND_POLICY": (
        "agents, commands, server",
        "`configure(policy=)`, `--policy`: path of the policy file. No default",
    ),
    "ASCEND_DATABASE_URL": (
        "agents, commands, server",
        "`configure(database_url=)`, `--database-url`: where the database is",
    ),
    "ASCEND_SECRET_KEY": (
        "agents, commands, server",
        "`configure(secret_key=)`: the key of PostgreSQL's audit trail, 64 hexadecimal digits",
    ),
    "ASCEND_DURABILITY": (
        "agents, commands, server",
        "`configure(durability=)`: `power` or `process`. Default: `power`",
    ),
    "ASCEND_AGENT_ID": (
        "agents, client",
        "`configure(agent_id=)`: the agent that calls are made for. Default: `default-agent`",
    ),
    "ASCEND_AGENT_NAME": (
        "agents, client",
        "`configure(agent_name=)`: its name for people. Default: the agent id",
    ),
    "ASCEND_API_KEY": (
        "agents, client",
        "`configure(api_key=)`: an API key; a server decides. Default: embedded",
    ),
    "ASCEND_API_URL": (
        "agents, client",
        "`configure(api_url=)`: the server. Default: `https://pilot.owkai.app`, the hosted platform",
    ),
    "ASCEND_SIGNING_SECRET": (
        "agents, client",
        "the secret of a key made with `--signing-secret`: requests with a body are signed",
    ),
    "ASCEND_WAITING": ("agents", "`configure(waiting=)`: `terminal`, `log` or `off`. Default: `terminal`"),
    "ASCEND_DEBUG": (
        "client, commands",
        "`true`: the client logs requests and answers without secrets, and a command shows the traceback of an unexpected "
        "failure",
    ),
    "ASCEND_OIDC_ISSUER": (
        "server",
        "`serve --oidc-issuer`: the OpenID Connect issuer of people's tokens",
    ),
    "ASCEND_OIDC_AUDIENCE": (
        "server",
        "`serve --oidc-audience`: the client id of this application at the issuer",
    ),
    "ASCEND_OIDC_JWKS_URL": (
        "server",
        "`serve --oidc-jwks-url`: the issuer's keys. Default: found by discovery",
    ),
    "ASCEND_MCP_HEADER_*": (
        "MCP proxy",
        "written by `mcp-proxy install` into a client's file: a header with a secret, kept out of the command line",
    ),
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": (
        "agents",
        "`true`, `SPAN_ONLY` or `SPAN_AND_EVENT`: redacted arguments are put on spans",
    ),
    "PGHOST": ("PostgreSQL", "the host, where the address names none"),
    "PGPORT": ("PostgreSQL", "the port, where the address names none"),
    "PGDATABASE": ("PostgreSQL", "the database, where the address names none"),
    "PGPASSWORD": ("PostgreSQL", "the password, where the address has none"),
    "PAGER": ("commands", "shows what is longer than the screen; `cat` turns paging off"),
    "COLUMNS": ("commands", "the width of the output where it is not a terminal"),
    "LESS": ("commands", "options of `less`; `FRX` when it is not set"),
    "LV": ("commands", "options of `lv`; `-c` when it is not set"),
}
"""Every environment variable that our code reads, who reads it, and what it sets."""

ATTRIBUTES: dict[str, str] = {
    "gen_ai.operation.name": "`execute_tool`",
    "gen_ai.tool.name": "the tool's name",
    "gen_ai.tool.call.arguments": "only when content is captured: the redacted arguments as JSON",
    "gen_ai.agent.id": "the agent, as configured or in scope",
    "gen_ai.agent.name": "its name",
    "gen_ai.conversation.id": "the session, where the scope names one",
    "error.type": "class name of the exception that the call ended with",
    "mcp.method.name": "read only: `tools/call` marks an MCP server's span, which is joined",
    "ascend.action.id": "the action; `ascend-guard actions show` takes it",
    "ascend.action.type": "the action type, as declared",
    "ascend.decision": "`approved`, `denied`, `pending`, `blocked` (kill switch) or `error` (no decision)",
    "ascend.decided_by": "only when content is captured: the person who decided",
    "ascend.policy.rule": "the rule that decided",
    "ascend.risk.score": "0 to 100",
    "ascend.risk.level": "`low`, `medium`, `high` or `critical`",
    "ascend.outcome": "`completed`, `failed`, `handed_over` or `unknown`; absent when the tool did not run",
    "ascend.orchestration.session_id": "the same for a call and all calls made inside it",
    "ascend.orchestration.depth": "0 for the outermost call",
    "ascend.kill_switch.stage": "of the event `ascend.kill_switch`: `submit`, `wait`, `start` or `stream`",
    "ascend.kill_switch.blocked": "of the event `ascend.kill_switch`: whether the call was blocked there",
    "ascend.correlation_id": "of the server's spans: the request's `X-Correlation-ID`",
    "http.request.method": "of the server's spans",
    "http.route": "of the server's spans: the path of the endpoint",
    "http.response.status_code": "of the server's spans",
}
"""Every attribute that spans and metrics have."""

SPANS: dict[str, str] = {
    "execute_tool {tool}": "the whole call, until its outcome. A framework's own span is joined instead, where there is one",
    "ascend.submit": "the control plane decides by policy",
    "ascend.wait": "a person is asked",
    "ascend.claim": "the approval is used, once",
    "{METHOD} {path}": "of the server: one request",
}
"""Every span."""
