"""Names of attributes, as plain strings.

``gen_ai.*`` and ``error.type`` are from the OpenTelemetry GenAI conventions ("Execute tool span",
"Generative AI tool metrics"; in development), ``mcp.*`` from the MCP conventions. Their Python constants are
deprecated.
"""

from __future__ import annotations

EXECUTE_TOOL = "execute_tool"

OPERATION_NAME = "gen_ai.operation.name"
TOOL_NAME = "gen_ai.tool.name"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION_ID = "gen_ai.conversation.id"
ERROR_TYPE = "error.type"
MCP_METHOD = "mcp.method.name"

ACTION_ID = "ascend.action.id"
ACTION_TYPE = "ascend.action.type"
DECISION = "ascend.decision"
DECIDED_BY = "ascend.decided_by"
POLICY_RULE = "ascend.policy.rule"
RISK_SCORE = "ascend.risk.score"
RISK_LEVEL = "ascend.risk.level"
OUTCOME = "ascend.outcome"
ORCHESTRATION_SESSION = "ascend.orchestration.session_id"
ORCHESTRATION_DEPTH = "ascend.orchestration.depth"
KILL_SWITCH_STAGE = "ascend.kill_switch.stage"
KILL_SWITCH_BLOCKED = "ascend.kill_switch.blocked"
