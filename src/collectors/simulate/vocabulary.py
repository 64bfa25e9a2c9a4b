"""The words the simulated platform speaks: countries, devices, routes, actions, with their shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Market:
    """A country a tenant sells in; ``monthly_price`` of an individual plan is in minor units of ``currency``."""

    country: str
    currency: str
    share: float
    monthly_price: int
    latitude: float
    longitude: float
    asns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TenantProfile:
    """A tenant of the platform; ``share`` is its part of all users and events."""

    id: str
    name: str
    share: float
    time_zone: str
    currency: str
    markets: tuple[Market, ...]


DEMO_TENANTS = (
    TenantProfile(
        "nordic",
        "Nordlys Records",
        0.80,
        "Europe/Stockholm",
        "SEK",
        (
            Market("SE", "SEK", 0.50, 12900, 59.33, 18.07, (3301, 1257, 8473)),
            Market("NO", "NOK", 0.20, 13900, 59.91, 10.75, (2119, 29695)),
            Market("DK", "DKK", 0.18, 10900, 55.68, 12.57, (3292, 9158)),
            Market("FI", "EUR", 0.12, 1299, 60.17, 24.94, (1759, 719)),
        ),
    ),
    TenantProfile(
        "americas",
        "Cordillera Music",
        0.15,
        "America/New_York",
        "USD",
        (
            Market("US", "USD", 0.70, 1199, 40.71, -74.01, (7018, 7922, 701, 20115)),
            Market("CA", "CAD", 0.12, 1199, 43.65, -79.38, (577, 812)),
            Market("MX", "MXN", 0.10, 12900, 19.43, -99.13, (8151, 28548)),
            Market("BR", "BRL", 0.08, 2390, -23.55, -46.63, (28573, 27699)),
        ),
    ),
    TenantProfile(
        "tokyo",
        "Kumo Sound",
        0.05,
        "Asia/Tokyo",
        "JPY",
        (
            Market("JP", "JPY", 0.90, 980, 35.68, 139.69, (4713, 2516, 17676)),
            Market("KR", "KRW", 0.10, 10900, 37.57, 126.98, (4766, 9318)),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan on sale: ``factor`` times the market's monthly price for each period of ``months``; free costs 0."""

    name: str
    interval: str
    months: int
    factor: float
    share: float
    bitrate_kbps: int


PLANS = (
    Plan("free", "month", 1, 0.0, 0.55, 160),
    Plan("student", "month", 1, 0.55, 0.07, 320),
    Plan("individual", "month", 1, 1.0, 0.21, 320),
    Plan("duo", "month", 1, 1.35, 0.05, 320),
    Plan("family", "month", 1, 1.7, 0.08, 320),
    Plan("individual_annual", "year", 12, 10.0, 0.04, 320),
)


def plan_price(plan: Plan, market: Market) -> int:
    """Price of one period in minor units, a multiple of the period's months so that MRR is whole."""
    return plan.months * round(plan.factor * market.monthly_price / plan.months)


CLIENTS: tuple[tuple[str, str, str, float], ...] = (
    # device, platform, source, share
    ("phone", "ios", "ios-app/8.9.42", 0.31),
    ("phone", "android", "android-app/8.9.40", 0.33),
    ("tablet", "ios", "ios-app/8.9.42", 0.03),
    ("tablet", "android", "android-app/8.9.18", 0.02),
    ("desktop", "windows", "desktop-app/1.2.55", 0.09),
    ("desktop", "macos", "desktop-app/1.2.55", 0.06),
    ("desktop", "linux", "desktop-app/1.2.49", 0.01),
    ("desktop", "web", "web-player/2026.44", 0.06),
    ("speaker", "linux", "speaker-sdk/5.3.0", 0.04),
    ("car", "android", "car-app/3.1.7", 0.02),
    ("tv", "android", "tv-app/2.0.9", 0.02),
    ("console", "linux", "console-app/1.8.2", 0.01),
)

USER_AGENTS = (
    "Tune/8.9.42 (iPhone; iOS 19.1; Scale/3.00)",
    "Tune/8.9.40 (Android 16; SM-S931B)",
    "Tune/8.9.42 (iPad; iPadOS 19.1; Scale/2.00)",
    "Tune/8.9.18 (Android 15; SM-X210)",
    "Tune/1.2.55 (Windows NT 10.0; Win64; x64)",
    "Tune/1.2.55 (Macintosh; macOS 16.0)",
    "Tune/1.2.49 (X11; Linux x86_64)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
    "TuneSpeaker/5.3.0",
    "TuneCar/3.1.7 (Android Automotive 14)",
    "TuneTV/2.0.9 (Android TV 14)",
    "TuneConsole/1.8.2",
)
ATTACK_AGENTS = ("python-requests/2.32.3", "curl/8.11.0", "Go-http-client/2.0")

CONTEXTS = ("playlist", "album", "radio", "library", "search", "artist")
CONTEXT_SHARES = (0.44, 0.16, 0.15, 0.13, 0.07, 0.05)

ENDINGS: tuple[tuple[str, bool, float, float, float], ...] = (
    # reason, skipped, share, and the beta distribution of the share of the track that was heard (0, 0: all of it)
    ("trackdone", False, 0.58, 0.0, 0.0),
    ("fwdbtn", True, 0.16, 0.5, 8.0),
    ("fwdbtn", True, 0.10, 1.2, 1.8),
    ("backbtn", True, 0.03, 1.0, 6.0),
    ("clickrow", True, 0.04, 1.0, 3.0),
    ("endplay", False, 0.05, 1.3, 1.3),
    ("logout", False, 0.03, 1.3, 1.3),
    ("error", False, 0.01, 0.4, 6.0),
)

APP_EVENTS: tuple[tuple[str, str, bool, float], ...] = (
    # name, screen, whether its target is a track, share
    ("App Opened", "home", False, 0.22),
    ("Screen Viewed", "home", False, 0.14),
    ("Screen Viewed", "library", False, 0.10),
    ("Search Performed", "search", False, 0.16),
    ("Track Liked", "now_playing", True, 0.12),
    ("Lyrics Opened", "now_playing", True, 0.05),
    ("Track Shared", "now_playing", True, 0.03),
    ("Track Added To Playlist", "now_playing", True, 0.06),
    ("Playlist Created", "library", False, 0.03),
    ("Playlist Followed", "playlist", False, 0.03),
    ("Download Started", "playlist", False, 0.02),
    ("Ad Viewed", "home", False, 0.03),
    ("Plan Page Viewed", "settings", False, 0.01),
)
PROPERTY_SHARE = 1 / 16

ENDPOINTS: tuple[tuple[str, str, str | None, str, str | None, float, float, float], ...] = (
    # service, route, method, protocol, operation, share, median microseconds, log-normal sigma
    ("catalog", "/v1/tracks/{id}", "GET", "http", None, 0.22, 6_000, 0.55),
    ("catalog", "/v1/albums/{id}", "GET", "http", None, 0.08, 9_000, 0.60),
    ("catalog", "/v1/search", "GET", "http", None, 0.09, 38_000, 0.70),
    ("playlist", "/v1/playlists/{id}", "GET", "http", None, 0.12, 11_000, 0.60),
    ("playlist", "/v1/playlists/{id}/tracks", "POST", "http", None, 0.03, 17_000, 0.65),
    ("playback", "/v1/me/player", "PUT", "http", None, 0.14, 8_000, 0.50),
    ("playback", "/v1/me/player/queue", "POST", "http", None, 0.04, 9_500, 0.50),
    ("gateway", "/graphql", "POST", "graphql", "HomeFeed", 0.09, 62_000, 0.60),
    ("gateway", "/graphql", "POST", "graphql", "ArtistOverview", 0.05, 48_000, 0.60),
    ("recommender", "/recommender.v1/Rank", None, "grpc", "Rank", 0.07, 21_000, 0.45),
    ("billing", "/v1/subscriptions/{id}", "GET", "http", None, 0.03, 26_000, 0.80),
    ("billing", "/v1/payments", "POST", "http", None, 0.01, 240_000, 0.75),
    ("identity", "/v1/token", "POST", "http", None, 0.03, 31_000, 0.50),
)
STATUSES: tuple[tuple[int, str | None, float], ...] = (
    (200, None, 0.930),
    (204, None, 0.020),
    (304, None, 0.018),
    (400, None, 0.006),
    (401, None, 0.008),
    (404, None, 0.009),
    (429, None, 0.004),
    (500, "InternalError", 0.003),
    (503, "Unavailable", 0.0015),
    (504, "Timeout", 0.0005),
)

AUTH_ENDINGS: tuple[tuple[str, str, str | None, float], ...] = (
    # outcome, method, reason, share
    ("success", "token", None, 0.52),
    ("success", "password", None, 0.24),
    ("success", "sso", None, 0.09),
    ("success", "passkey", None, 0.07),
    ("challenge", "mfa", None, 0.03),
    ("failure", "password", "bad_password", 0.028),
    ("failure", "token", "expired", 0.014),
    ("failure", "mfa", "mfa", 0.005),
    ("locked", "password", "bad_password", 0.003),
)

AUDIT_ACTIONS: tuple[tuple[str, str, str, float], ...] = (
    # action, resource prefix, reason, share
    ("role.grant", "role/", "New team member", 0.10),
    ("role.revoke", "role/", "Left the team", 0.07),
    ("config.update", "config/", "Tuning after load test", 0.21),
    ("refund.approve", "invoice/", "Customer complaint", 0.18),
    ("catalog.takedown", "track/", "Rights holder request", 0.09),
    ("user.export", "user/", "Data subject request", 0.12),
    ("user.erase", "user/", "Data subject request", 0.06),
    ("key.rotate", "key/", "Scheduled rotation", 0.05),
    ("report.read", "report/", "Monthly close", 0.12),
)
AUDIT_OUTCOMES = ("success", "denied", "failure")
AUDIT_OUTCOME_SHARES = (0.955, 0.030, 0.015)

POSITION_SHARES = (0.24, 0.17, 0.13, 0.11, 0.09, 0.08, 0.06, 0.05, 0.04, 0.03)
SLATE_SIZE = len(POSITION_SHARES)
POSITIVE_ACTIONS = ("play", "click", "save")
POSITIVE_SHARES = (0.62, 0.26, 0.12)

PAYMENT_KINDS = ("charge", "refund", "chargeback", "chargeback_reversal", "tax", "fee")
PAYMENT_KIND_SHARES = (0.935, 0.025, 0.005, 0.001, 0.018, 0.016)
PAYMENT_STATUSES = ("succeeded", "failed", "pending")
PAYMENT_STATUS_SHARES = (0.962, 0.031, 0.007)
