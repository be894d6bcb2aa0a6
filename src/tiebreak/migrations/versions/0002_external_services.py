"""External services: how calls to a provider behave, prices with dates, what went through, and how it stands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables; a model's present price becomes the one it has always had."""
    _widen_providers()
    _date_prices()
    _keep_hours()
    _keep_circuits()
    op.add_column("run_tasks", sa.Column("events", JSONB(), nullable=True))
    op.add_column("run_tasks", sa.Column("draw", sa.Uuid(), nullable=True))


def _widen_providers() -> None:
    for column in (
        sa.Column("max_batch_size", sa.Integer(), server_default=sa.text("10"), nullable=False),
        sa.Column("batch_timeout_ms", sa.Integer(), server_default=sa.text("100"), nullable=False),
        sa.Column("cache_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("cache_ttl_seconds", sa.Integer(), server_default=sa.text("300"), nullable=False),
        sa.Column("proxy", sa.LargeBinary(), nullable=True),
        sa.Column("proxy_key_id", sa.Text(), nullable=True),
        sa.Column("ca_bundle", sa.Text(), nullable=True),
        sa.Column("client_certificate", sa.Text(), nullable=True),
        sa.Column("client_key", sa.Text(), nullable=True),
    ):
        op.add_column("providers", column)


def _date_prices() -> None:
    op.create_table(
        "model_prices",
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("input_price", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("output_price", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("cached_input_price", sa.Numeric(precision=18, scale=9), nullable=True),
        sa.CheckConstraint(
            "input_price >= 0 and output_price >= 0 and cached_input_price >= 0",
            name=op.f("ck_model_prices_prices_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_prices_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_id", "valid_from", name=op.f("pk_model_prices")),
    )
    op.execute(
        "insert into model_prices (model_id, valid_from, input_price, output_price) "
        "select id, timestamptz 'epoch', input_price, output_price from models "
        "where input_price is not null and output_price is not null"
    )
    op.drop_constraint(op.f("ck_models_prices_not_negative"), "models")
    op.drop_column("models", "input_price")
    op.drop_column("models", "output_price")


def _keep_hours() -> None:
    counts = (
        "calls",
        "answers",
        "retries",
        "cached",
        "joined",
        "refused",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    op.create_table(
        "provider_hours",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("failures", JSONB(), nullable=False),
        sa.Column("latency", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_provider_hours_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider_id", "hour", "model", name=op.f("pk_provider_hours")),
    )


def _keep_circuits() -> None:
    op.create_table(
        "provider_circuits",
        sa.Column("process", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_probe", sa.DateTime(timezone=True), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_provider_circuits_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "process", "provider_id", "endpoint", "credential", name=op.f("pk_provider_circuits")
        ),
    )
