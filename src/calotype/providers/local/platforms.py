"""Sites that films can be fetched from, for whoever asks without loading what fetches them."""

PLATFORMS = (
    "Bandcamp", "BiliBili", "Bluesky", "Dailymotion", "Facebook", "Instagram", "Loom", "Newgrounds", "PeerTube",
    "Pinterest", "Reddit", "Rumble", "Soundcloud", "Streamable", "TedTalk", "TikTok", "TwitchClips", "Twitter", "Vimeo",
    "Youtube",
)  # fmt: skip
"""Well-known sites by yt-dlp's names. It tries some 1,800 in all, and any address of a film file; a site may change."""
