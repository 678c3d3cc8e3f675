"""The app in a real browser: chromium by playwright against `streamlit run`, as people use it."""
