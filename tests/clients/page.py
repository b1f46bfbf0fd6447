"""The status page in a real browser, as a person uses it: page.py BROWSER ADMIN_URL [ADMIN_TOKEN]. Prints what it saw as JSON."""
import asyncio, json, subprocess, sys, tempfile, urllib.request

import websockets

browser, admin, *token = sys.argv[1:]


async def main():
    profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    process = subprocess.Popen(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
         f"--user-data-dir={profile.name}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "DevTools listening on" in line:
                port = line.rsplit(":", 1)[1].split("/")[0]
                break
        tabs = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/json"))
        tab = next(tab for tab in tabs if tab["type"] == "page")
        async with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            print(json.dumps(await use(socket)))
    finally:
        process.kill()


async def use(socket):
    seen = {"urls": [], "complaints": []}
    numbers = iter(range(1, 10**6))

    async def call(method, **params):
        number = next(numbers)
        await socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await asyncio.wait_for(socket.recv(), 30))
            if message.get("id") == number:
                return message.get("result", {})
            note(message)

    def note(message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            seen["urls"].append(params["request"]["url"])
        if method == "Runtime.exceptionThrown":
            seen["complaints"].append(params["exceptionDetails"].get("text", "exception"))
        if method == "Log.entryAdded" and params["entry"]["level"] == "error":
            seen["complaints"].append(params["entry"]["text"])
        if method == "Runtime.consoleAPICalled" and params["type"] == "error":
            seen["complaints"].append("console.error")

    async def value(expression):
        answer = await call("Runtime.evaluate", expression=expression, awaitPromise=True)
        return answer.get("result", {}).get("value")

    async def until(expression):
        for _ in range(200):
            if await value(expression):
                return True
            await asyncio.sleep(0.05)
        return False

    for domain in ("Page", "Network", "Runtime", "Log"):
        await call(f"{domain}.enable")
    await call("Page.navigate", url=admin)
    if token:
        seen["asked"] = await until("!document.getElementById('login').hidden")
        seen["shown_before"] = await value("document.querySelectorAll('#credentials .card').length")
        await value("document.getElementById('token').value = 'not-this-one'; document.querySelector('#login button').click()")
        seen["wrong_token_told"] = await until("document.getElementById('refused').textContent.includes('not the right one')")
        await value(f"document.getElementById('token').value = {json.dumps(token[0])}; document.querySelector('#login button').click()")
    seen["live"] = await until("document.getElementById('live').textContent === 'live'")
    before = await value("document.querySelector('#credentials .card').textContent")
    await value("document.querySelector('#credentials button').click()")
    seen["refreshed"] = await until(f"document.querySelector('#credentials .card').textContent.includes('generation 2')") and "generation 1" in before
    await value("document.getElementById('url').value = 'http://nobody.test/'; document.querySelector('#explain button').click()")
    seen["explained"] = await until("document.getElementById('explained').textContent.startsWith('deny')")
    await value("document.getElementById('reload').click()")
    seen["reload_answered"] = await until("document.getElementById('reloaded').textContent !== ''")
    seen["recent"] = await until("document.querySelectorAll('#recent tr').length > 0")
    # Requests are filtered and sorted, and one is shown in detail.
    await value("filter = document.getElementById('filter'); filter.value = 'nobody 403'; filter.dispatchEvent(new Event('input'))")
    seen["filtered"] = await until("(found = [...document.querySelectorAll('#recent tr')]).length > 0 && found.every(row => row.textContent.includes('no upstream covers'))")
    await value("filter.value = ''; filter.dispatchEvent(new Event('input')); document.querySelector('th[data-column=status] button').click()")
    seen["sorted"] = await value("document.querySelector('th[data-column=status]').getAttribute('aria-sort') === 'ascending'")
    await value("document.querySelector('#recent button').click()")
    seen["detail"] = await value("document.getElementById('detail').open && document.querySelectorAll('.waterfall tr').length >= 2 && document.getElementById('detail').textContent.includes('request id')")
    await value("document.getElementById('close').click()")
    seen["timeline"] = await until("document.querySelectorAll('.timeline .life').length > 0")
    seen["chart"] = await until("document.querySelectorAll('.chart rect').length > 0")
    await value("chart = document.querySelector('.chart'); chart.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }))")
    seen["pointed"] = await value("document.querySelector('.values').textContent.includes(': requests ')")
    seen["hosts"] = await until("document.getElementById('hosts').textContent.includes('nobody.test')")
    seen["attention"] = await until("document.getElementById('attention').textContent.includes('unmatched')")
    for name, width in (("desktop", 1280), ("phone", 390)):
        await call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=name == "phone")
        seen[f"{name}_fits"] = await value("document.documentElement.scrollWidth <= innerWidth")
    seen["unlabelled"] = await value("[...document.querySelectorAll('button, input, select')].filter(one => !one.textContent.trim() && !one.getAttribute('aria-label') && !document.querySelector('label[for=' + one.id + ']')).length")
    seen["text"] = await value("document.body.innerText")
    # What the reload button was told is no fault of the page: this attache has no file.
    seen["complaints"] = [one for one in seen["complaints"] if "422" not in one]
    return seen


asyncio.run(main())
