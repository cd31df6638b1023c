"""What the models of a run cost."""

from collections.abc import Callable

from backends.messages import Usage
from backends.prices import Price, PricesError, cost_usd, price_of, read_prices
from backends.registry import ModelName, parse_model
from flows.run_parameters import RunParameters
from flows.settings import Settings, SettingsError


def prices_of_run(parameters: RunParameters, settings: Settings) -> dict[str, Price | None]:
    """Find what each model costs that may be asked, the one that is asked first being the first.

    Raises:
        SettingsError: A limit on costs is set and a price is not known, or the user's prices cannot be read.
    """
    try:
        own = read_prices(settings.prices) if settings.prices else {}
    except PricesError as error:
        raise SettingsError(f"VLLM_FLOWS_PRICES: {error}") from error
    names = [ModelName(parameters.provider, parameters.model_name or settings.model or "")]
    if parameters.fallback:
        names.append(parse_model(parameters.fallback))
    names += map(parse_model, parameters.other_models)
    prices = {str(name): price_of(name, own) for name in names}
    unknown = [name for name, price in prices.items() if price is None]
    if parameters.max_cost_usd is not None and unknown:
        raise SettingsError(
            f"max_cost_usd is set and the price of {unknown[0]!r} is not known; write it into a file and "
            "name that in VLLM_FLOWS_PRICES"
        )
    return prices


def cost_of(price: Price | None) -> Callable[[Usage], float]:
    """Return what turns tokens into US dollars; a price that is not known counts as nothing."""
    return lambda usage: cost_usd(usage, price) or 0.0
